package kernel

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// Sandbox confines a kernel and all that it starts: it sees the machine's programs read-only, one folder of its
// own, private /tmp, /dev and /proc, none of the server's variables, and no network unless that is allowed. It is
// not a virtual machine: the code runs on the same operating system kernel, whose defects it can use. It is data
// that crosses sockets and is kept in records.
type Sandbox struct {
	// Folder is the absolute folder on the server's machine that the kernel may write to, and its working folder.
	Folder string `json:"folder"`
	// Mount is the absolute path by which the kernel sees Folder; "" is Folder's own.
	Mount string `json:"mount,omitempty"`
	// Home is another folder of the kernel's, seen as /home/session, its HOME; "" gives it one in memory.
	Home string `json:"home,omitempty"`
	// ReadOnly are further absolute paths that the kernel sees as they are. The system's folders and the
	// kernel's interpreter need not be named.
	ReadOnly []string `json:"read_only,omitempty"`
	// Hide are paths that the kernel must not see although they are in a folder it does: what is the server's.
	Hide []string `json:"hide,omitempty"`
	// Network gives the kernel the machine's network. Without it there is only a loopback of its own, which
	// needs a kernel that speaks over ipc.
	Network bool `json:"network,omitempty"`
	// MemoryDiskBytes bounds each of /tmp, /dev/shm and a HOME in memory. 0 is 256 MiB.
	MemoryDiskBytes int64 `json:"memory_disk_bytes,omitempty"`
	// DiskBytes bounds what the kernel keeps in Folder and Home: code that goes beyond it is interrupted, and
	// killed when it goes on. No single file can be larger. 0 is no bound.
	DiskBytes int64 `json:"disk_bytes,omitempty"`
	// Runtime is a command that confines the kernel in bubblewrap's place (gVisor's runsc, a container engine
	// with kata): its words, before the kernel's own. {folder}, {mount}, {home}, {connection_dir} and {network}
	// ("host" or "none") are filled in. It shows Home, which is HOME, and the connection's folder under their own
	// paths, passes SIGINT and SIGTERM on and ends with the kernel.
	Runtime []string `json:"runtime,omitempty"`
}

// SandboxHome is the HOME of a kernel that bubblewrap confines.
const SandboxHome = "/home/session"

const (
	defaultMemoryDisk = 256 << 20
	bubblewrap        = "bwrap"
)

// sandboxEnviron are the variables of the server that a confined kernel inherits; LC_… too.
var sandboxEnviron = map[string]bool{"PATH": true, "LANG": true, "LANGUAGE": true, "TZ": true}

// Validate reports the first field that makes no sense, as Invalid. nil is valid: no sandbox.
func (s *Sandbox) Validate() error {
	if s == nil {
		return nil
	}
	paths := map[string]string{"folder": s.Folder}
	for field, p := range map[string]string{"mount": s.Mount, "home": s.Home} {
		if p != "" {
			paths[field] = p
		}
	}
	for field, p := range paths {
		if !filepath.IsAbs(p) || filepath.Clean(p) == "/" || strings.ContainsRune(p, 0) {
			return fault.New(fault.Invalid, "sandbox: %s is not an absolute path below /", field)
		}
	}
	for _, p := range append(append([]string(nil), s.ReadOnly...), s.Hide...) {
		if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
			return fault.New(fault.Invalid, "sandbox: a path that is to be shown or hidden is not absolute")
		}
	}
	if s.MemoryDiskBytes < 0 || s.DiskBytes < 0 {
		return fault.New(fault.Invalid, "sandbox: a number of bytes is negative")
	}
	return nil
}

// mount is where the kernel sees Folder.
func (s *Sandbox) mount() string {
	if s.Mount == "" {
		return s.Folder
	}
	return s.Mount
}

// runtimeCommand is Runtime with its fields filled in.
func (s *Sandbox) runtimeCommand(connectionDir string) []string {
	network := "none"
	if s.Network {
		network = "host"
	}
	fields := strings.NewReplacer("{folder}", s.Folder, "{mount}", s.mount(), "{home}", s.Home,
		"{connection_dir}", connectionDir, "{network}", network)
	words := make([]string, len(s.Runtime))
	for i, w := range s.Runtime {
		words[i] = fields.Replace(w)
	}
	return words
}

// environ is what a confined kernel gets of the server's variables.
func (s *Sandbox) environ(server map[string]string) map[string]string {
	env := map[string]string{"HOME": SandboxHome, "USER": "session", "LOGNAME": "session"}
	switch {
	case len(s.Runtime) == 0:
	case s.Home != "":
		env["HOME"] = s.Home
	default:
		env["HOME"] = s.mount()
	}
	for name, value := range server {
		if sandboxEnviron[name] || strings.HasPrefix(name, "LC_") {
			env[name] = value
		}
	}
	return env
}

// confine puts the command that confines a kernel in front of the kernel's own.
func (l *Local) confine(a Launch, argv []string, program string) (words []string, path string, err error) {
	s := a.Sandbox
	dir := filepath.Dir(a.ConnectionFile)
	if len(s.Runtime) > 0 {
		words = s.runtimeCommand(dir)
	} else {
		if !sandboxes {
			return nil, "", fault.New(fault.Unstartable, "the kernel cannot be confined: that needs Linux")
		}
		if !s.Network && a.Spec.Transport() != IPC {
			return nil, "", fault.New(fault.Unstartable,
				"kernelspec %s speaks over TCP only, which a sandbox without network does not have", a.Spec.Name)
		}
		words = append([]string{bubblewrap}, s.bubblewrapArgs(s.viewOf(program, a.Spec, dir))...)
		words = append(words, "--")
	}
	if path, err = lookPath(words[0], (*l.environ.Load())["PATH"], "/"); err != nil {
		return nil, "", fault.Wrap(fault.Unstartable, err, "the kernel cannot be confined: command %q cannot be run", words[0])
	}
	argv[0] = program // what confines it looks for no program
	return append(words, s.bounded(argv)...), path, nil
}

// wraps tells whether the process we start is one that must not be signalled.
func (s *Sandbox) wraps() bool { return s != nil && len(s.Runtime) == 0 }

// signalled is what an exit code is above when a signal ended the process, as shells have it.
const signalled = 128

// unwrapped is how the kernel ended, by how what confined it did.
func (e Exit) unwrapped() Exit {
	if e.Signal == 0 && e.Code > signalled && e.Code <= signalled+64 {
		e.Code, e.Signal = -1, syscall.Signal(e.Code-signalled)
	}
	return e
}

// sandboxProbe bounds CheckSandbox. It takes milliseconds.
const sandboxProbe = 10 * time.Second

// CheckSandbox says why kernels cannot be confined on this machine, as Unstartable; nil when they can. It looks
// for bubblewrap in the folders of path and runs a program in it.
func CheckSandbox(ctx context.Context, path string) error {
	if !sandboxes {
		return fault.New(fault.Unstartable, "kernels are confined on Linux only")
	}
	bwrap, err := lookPath(bubblewrap, path, "/")
	if err != nil {
		return fault.Wrap(fault.Unstartable, err, "bubblewrap (the command bwrap) is not installed")
	}
	ctx, cancel := context.WithTimeout(ctx, sandboxProbe)
	defer cancel()
	probe := &Sandbox{Folder: "/usr", Mount: "/mnt/data"}
	// As process 1 of its namespace it is waited for by bubblewrap; another one there would be left to us, dead.
	args := append(probe.bubblewrapArgs(sandboxView{}), "--as-pid-1", "--", "/usr/bin/env", "true")
	out, err := exec.CommandContext(ctx, bwrap, args...).CombinedOutput()
	if err != nil {
		return fault.Wrap(fault.Unstartable, err, "bubblewrap does not work here: %.200s", firstLine(string(out)))
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
