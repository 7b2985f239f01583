package kernel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// complaint matches what the server itself puts into the output of the execution m.
func complaint(m *kernel.Message, text string) func(kernel.Entry) bool {
	return func(e kernel.Entry) bool {
		return e.Message != nil && e.Message.Header.MsgType == "stream" && e.Message.Parent.MsgID == m.Header.MsgID &&
			strings.Contains(string(e.Message.Parts[kernel.PartContent]), text)
	}
}

// hungry fills 1 MiB after the other, more slowly when it gets near 200 MiB.
const hungry = `
import time
keep = []
for i in range(400):
    keep.append(b"x" * (1 << 20))
    time.sleep(0.005 if i < 110 else 0.1)
`

// filling reserves 186 MiB together with what Python has from the beginning, and stays so.
const filling = `
import time
def reserved():
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmData"))
keep = []
while reserved() < 186:
    keep.append(b"x" * (1 << 20))
time.sleep(60)
`

// A real kernel that needs more than 200 MiB: it is warned, ended, and its death explained where there are cgroups;
// elsewhere Python has its MemoryError.
func TestPythonOutOfMemory_P6_P12(t *testing.T) {
	limit := kernel.Limits{MemoryBytes: 200 << 20}
	t.Run("cgroup", func(t *testing.T) {
		f := realFixtureWith(t, "python3", kernel.Config{Limits: limit, RestartLimit: -1}, kernel.LocalConfig{StateDir: t.TempDir()})
		runManager(t, f)
		id := f.startReal("python3")
		if s, _ := f.Get(id); s.Limits.MemoryBy != "cgroup" {
			t.Skip("no memory controller for us")
		}
		c := f.attach(id)
		m := c.run(hungry)
		c.until(complaint(m, "of the 200 MiB of memory that it may have"))
		all := c.until(ended(m))
		require.Contains(t, content(t, all, "error")["evalue"], "out of memory: it needed more than its limit of 200 MiB")
		require.Contains(t, f.waitState(id, "dead").Reason, "out of memory")
	})
	t.Run("rlimit", func(t *testing.T) {
		f := realFixtureWith(t, "python3", kernel.Config{Limits: limit}, kernel.LocalConfig{})
		runManager(t, f)
		id := f.startReal("python3")
		s, err := f.Get(id)
		require.NoError(t, err)
		require.Equal(t, kernel.Enforced{Limits: limit, MemoryBy: "rlimit"}, s.Limits)
		c := f.attach(id)
		m := c.run("x = bytearray(300 << 20)")
		require.Equal(t, "MemoryError", content(t, c.until(ended(m)), "error")["ename"])
		m = c.run(filling)
		c.until(complaint(m, "If it asks for more, that fails"))
		require.NoError(t, f.Interrupt(t.Context(), id))
		c.until(ended(m))
		require.Contains(t, stdout(t, c.until(ended(c.run("print(6*7)")))), "42")
	})
}
