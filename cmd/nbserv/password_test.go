package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPasswordCommandPrintsAHash(t *testing.T) {
	var out, errs bytes.Buffer
	cmd := passwordCommand(&out, &errs)
	cmd.SetArgs([]string{})
	cmd.SetIn(strings.NewReader("correct horse\n"))
	require.NoError(t, cmd.Execute())
	require.True(t, strings.HasPrefix(out.String(), "argon2:$argon2id$"), out.String())
	require.NotContains(t, out.String()+errs.String(), "correct horse", "S6")

	cmd.SetIn(strings.NewReader("\n"))
	cmd.SetErr(io.Discard)
	cmd.SilenceUsage = true
	require.Error(t, cmd.Execute())
}
