package rserver

import (
	_ "embed"
	"encoding/json"
	"strings"

	"github.com/nbserv/nbserv/internal/fault"
)

//go:embed helpers/helper.R
var helperR string

//go:embed helpers/helper.py
var helperPython string

// runtime is a language that sessions and services are written in.
type runtime struct {
	name   string // as the API spells it
	helper string // code that runs once in each kernel
	// workspace is the name of the file in a snapshot that holds the workspace's objects.
	workspace string
	// call is the code that lets the helper do request n; interact does an execution of code as a user at a console
	// sees it.
	call     func(n string) string
	interact func(n, code string) string
	fifo     bool // what is printed comes through a named pipe while it is printed, not through the kernel's own messages
	nul      bool // strings may contain NUL
}

var (
	runtimeR = &runtime{
		name: "R", helper: helperR, workspace: ".RData", fifo: true,
		call:     func(n string) string { return `getOption("nbserv")("` + n + `")` },
		interact: func(n, _ string) string { return `getOption("nbserv")("` + n + `")` },
	}
	runtimePython = &runtime{
		name: "Python", helper: "exec(" + pythonLiteral(helperPython) + ", {})", workspace: ".PyData", nul: true,
		call:     func(n string) string { return `__import__("nbserv_kernel").call("` + n + `")` },
		interact: interactPython,
	}
	runtimes = []*runtime{runtimeR, runtimePython}
)

// interactPython lets code await only where it may want to: a cell that awaits cannot be interrupted while it does not.
func interactPython(n, code string) string {
	if strings.Contains(code, "await") || strings.Contains(code, "async") {
		return `await __import__("nbserv_kernel").run_async("` + n + `")`
	}
	return `__import__("nbserv_kernel").run("` + n + `")`
}

// pythonLiteral writes ASCII text as Python reads it: JSON's escapes are Python's.
func pythonLiteral(s string) string {
	b, _ := json.Marshal(s) // a string: cannot fail
	return string(b)
}

// parseRuntime reads runtimeType; "" is R, as it was when there was nothing else.
func parseRuntime(text string) (*runtime, error) {
	if text == "" {
		return runtimeR, nil
	}
	for _, r := range runtimes {
		if strings.EqualFold(r.name, text) {
			return r, nil
		}
	}
	return nil, fault.New(fault.Invalid, `field "runtimeType" should be "R" or "Python", not %.100q`, text)
}
