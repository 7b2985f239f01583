package codeinterpreter

import (
	"errors"

	"github.com/nbserv/nbserv/internal/fault"
)

// codeOfError is the code that clients read of err.
func codeOfError(err error) string {
	var c *codedError
	if errors.As(err, &c) {
		return c.code
	}
	return codes[fault.KindOf(err)]
}
