package kernel

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sandboxView is what bubblewrap shows of the machine besides the sandbox's own folders.
type sandboxView struct {
	readOnly      []string // in the order to mount them: outer before inner
	connectionDir string   // "" for a program that is no kernel
}

// systemPaths are what programs need of the system. Of /etc it is what says how to link, name, print and check,
// and nothing that a machine keeps for itself: keys, accounts, services.
var systemPaths = []string{
	"/usr",
	"/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs",
	"/etc/pki/ca-trust", "/etc/ca-certificates", "/etc/fonts", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/magic",
	"/etc/nsswitch.conf", "/etc/hosts", "/etc/host.conf", "/etc/protocols", "/etc/services", "/etc/passwd", "/etc/group", "/etc/os-release",
	"/etc/locale.alias", "/etc/profile", "/etc/bash.bashrc", "/etc/inputrc", "/etc/terminfo", "/etc/R", "/etc/java-17-openjdk", "/etc/papersize",
}

// networkPaths are what is needed besides to find others.
var networkPaths = []string{"/etc/resolv.conf", "/etc/gai.conf", "/run/systemd/resolve"}

// rootLinks are folders of the root that most systems keep in /usr.
var rootLinks = []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// Of /proc, what says or changes more of the machine than a program needs. A server that runs as root owns these
// files, also where its rights are gone.
var (
	procReadOnly = []string{"/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/pressure"}
	procHidden   = []string{
		"/proc/acpi", "/proc/asound", "/proc/scsi", "/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/kallsyms", "/proc/kpagecgroup",
		"/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/mtrr", "/proc/pagetypeinfo", "/proc/sched_debug",
		"/proc/slabinfo", "/proc/sysrq-trigger", "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo",
	}
)

// bubblewrapArgs are the arguments before "--". https://github.com/containers/bubblewrap
func (s *Sandbox) bubblewrapArgs(v sandboxView) []string {
	args := []string{
		"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "session",
		"--disable-userns", "--cap-drop", "ALL",
	}
	if os.Geteuid() == 0 { // programs behave oddly as a root without its rights
		args = append(args, "--uid", "1000", "--gid", "1000")
	}
	if !s.Network {
		args = append(args, "--unshare-net")
	}
	show := func(paths ...string) {
		for _, p := range paths {
			args = append(args, "--ro-bind-try", p, p)
		}
	}
	show(systemPaths...)
	for _, p := range rootLinks {
		if target, err := os.Readlink(p); err == nil {
			args = append(args, "--symlink", target, p)
		} else {
			show(p)
		}
	}
	if s.Network {
		show(networkPaths...)
	}
	size := s.MemoryDiskBytes
	if size == 0 {
		size = defaultMemoryDisk
	}
	memory := func(mode, dir string) {
		args = append(args, "--perms", mode, "--size", strconv.FormatInt(size, 10), "--tmpfs", dir)
	}
	args = append(args, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev")
	show(procReadOnly...)
	for _, p := range procHidden {
		args = append(args, hide(p)...)
	}
	memory("1777", "/dev/shm")
	memory("1777", "/tmp")
	show(v.readOnly...)
	shown := slices.Concat(v.readOnly, systemPaths)
	for _, p := range s.Hide {
		within := slices.ContainsFunc(shown, func(dir string) bool { return below(p, dir) })
		around := slices.ContainsFunc(shown, func(dir string) bool { return below(dir, p) }) // it would hide the kernel itself
		if within && !around {
			args = append(args, hide(p)...)
		}
	}
	if v.connectionDir != "" {
		args = append(args, "--bind", v.connectionDir, v.connectionDir)
	}
	if s.Home == "" {
		memory("0700", SandboxHome)
	} else {
		args = append(args, "--bind", s.Home, SandboxHome)
	}
	return append(args, "--bind", s.Folder, s.mount(), "--remount-ro", "/", "--chdir", s.mount())
}

// hide puts something empty over a path; nothing when there is nothing to hide.
func hide(p string) []string {
	info, err := os.Stat(p)
	switch {
	case err != nil:
		return nil
	case info.IsDir():
		return []string{"--tmpfs", p, "--remount-ro", p}
	}
	return []string{"--ro-bind", "/dev/null", p}
}

// below tells whether path is dir or below it.
func below(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// viewOf finds what a kernel's program needs to run: where its interpreter is installed, with the Python that a
// virtual environment was made of, and the kernelspec's own folder.
func (s *Sandbox) viewOf(program string, spec Spec, connectionDir string) sandboxView {
	v := sandboxView{connectionDir: connectionDir}
	add := func(p string) {
		if p != "" && !slices.Contains(v.readOnly, p) && !slices.ContainsFunc(systemPaths, func(sys string) bool { return below(p, sys) }) {
			v.readOnly = append(v.readOnly, p)
		}
	}
	for range maxLinks {
		add(installation(program))
		add(venvBase(program))
		target, err := os.Readlink(program)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(program), target)
		}
		program = target
	}
	add(spec.Dir)
	for _, p := range s.ReadOnly {
		add(filepath.Clean(p))
	}
	slices.SortFunc(v.readOnly, func(a, b string) int { return len(a) - len(b) })
	return v
}

// maxLinks is how many symbolic links a program may be away, as in Linux.
const maxLinks = 40

// installation is the folder that a program was installed into, PREFIX of PREFIX/bin/program, or the program
// alone where that folder is none: it may hold anything, such as somebody's home.
func installation(program string) string {
	prefix := filepath.Dir(filepath.Dir(program))
	home, _ := os.UserHomeDir()
	if filepath.Base(filepath.Dir(program)) != "bin" || prefix == "/" || home != "" && below(home, prefix) || !isInstallation(prefix) {
		return program
	}
	return prefix
}

func isInstallation(prefix string) bool {
	for _, name := range []string{"pyvenv.cfg", "conda-meta", "lib"} {
		if _, err := os.Stat(filepath.Join(prefix, name)); err == nil {
			return true
		}
	}
	return false
}

// venvBase is where the Python is installed that program's virtual environment was made of; "" when there is none.
// https://docs.python.org/3/library/venv.html
func venvBase(program string) string {
	f, err := os.Open(filepath.Join(filepath.Dir(filepath.Dir(program)), "pyvenv.cfg"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if value = strings.TrimSpace(value); ok && strings.TrimSpace(name) == "home" && filepath.IsAbs(value) {
			return installation(filepath.Join(value, "python"))
		}
	}
	return ""
}
