package kernel

import (
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// String says how the process ended, for people.
func (e Exit) String() string {
	switch {
	case e.OverDisk:
		return "it used more disk space than its limit and was killed"
	case e.OutOfMemory && e.MemoryLimit > 0:
		return "out of memory: it needed more than its limit of " + formatBytes(e.MemoryLimit) + " and was killed by the system"
	case e.OutOfMemory:
		return "it ran out of memory and was killed by the system"
	case e.Unknown:
		return "its exit code is not known, for it was started by an earlier run of the server"
	case e.Signal != 0 && e.CoreDumped:
		return fmt.Sprintf("%s (signal %d, core dumped)", unix.SignalName(e.Signal), int(e.Signal))
	case e.Signal != 0:
		return fmt.Sprintf("%s (signal %d)", unix.SignalName(e.Signal), int(e.Signal))
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// escapes are the sequences that colour a terminal's text.
var escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

// maxLastLine bounds what of a kernel's own words is shown as the reason of its death.
const maxLastLine = 300

// lastLine is the last line the process wrote, which usually names its trouble; "" when it wrote nothing.
func (e Exit) lastLine() string {
	text := strings.TrimSpace(escapes.ReplaceAllString(e.Stderr, ""))
	text = strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	if len(text) > maxLastLine {
		text = text[:maxLastLine] + "…"
	}
	return strings.ToValidUTF8(text, "�")
}
