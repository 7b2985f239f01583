package faults

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// smallDisk is how many bytes the disk of a plant has that is to be full.
const smallDisk = 24 << 20

// inNamespaces says that the process is the one that mounts started.
const inNamespaces = "NBSERV_TEST_NAMESPACES"

// mounts tells whether this process may mount a small disk. Where that wants namespaces of its own, the test runs once
// more in a process that has them, which is what counts; where nobody may, it is skipped.
func mounts(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=65536")
	if err == nil {
		require.NoError(t, unix.Unmount(dir, 0))
		return true
	}
	if os.Getenv(inNamespaces) != "" || testing.CoverMode() != "" {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	self, errSelf := os.Executable()
	require.NoError(t, errSelf)
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), inNamespaces+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("in namespaces of its own:\n%s", out)
	}
	if err != nil || bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("no small disk can be mounted here, nor in namespaces: %v", err)
	}
	return false
}

// disk is a small file system, and what takes its room away.
type disk struct {
	t    *testing.T
	dir  string
	fill string
}

func mountDisk(t *testing.T) *disk {
	t.Helper()
	dir, err := os.MkdirTemp("", "nd")
	require.NoError(t, err)
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", smallDisk)))
	t.Cleanup(func() {
		require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH))
		require.NoError(t, os.Remove(dir))
	})
	return &disk{t, dir, filepath.Join(dir, "fill")}
}

// leave fills the disk so far that about n bytes are left.
func (d *disk) leave(n int) {
	d.t.Helper()
	d.free()
	var s unix.Statfs_t
	require.NoError(d.t, unix.Statfs(d.dir, &s))
	room := int(s.Bavail)*int(s.Bsize) - n
	if room <= 0 {
		return
	}
	err := os.WriteFile(d.fill, make([]byte, room), 0o600)
	require.True(d.t, err == nil || errors.Is(err, syscall.ENOSPC), "%v", err) // somebody else may have been faster
}

func (d *disk) free() {
	err := os.Remove(d.fill)
	require.True(d.t, err == nil || errors.Is(err, os.ErrNotExist), "%v", err)
}

// TestDiskFullAtEachWrite_P2_P4_P7 has ever less room on the disk of the notebooks and the state, so that each write of
// each request is once the one that finds none. What was answered with success is there, what was not left the old
// file as it was, nothing is an inner error, and with room again all goes on.
func TestDiskFullAtEachWrite_P2_P4_P7(t *testing.T) {
	if !mounts(t) {
		return
	}
	d := mountDisk(t)
	p := prepare(t)
	p.root, p.state = filepath.Join(d.dir, "root"), filepath.Join(d.dir, "state")
	require.NoError(t, os.Mkdir(p.root, 0o700))
	p.start()
	var own model
	p.must("POST", "api/sessions", session("own.ipynb"), &own)
	g := newPage(p, own.Kernel.ID)
	defer g.close()
	w := &writer{p: p, t: t}
	w.known("old.txt", strings.Repeat("old ", 5000))
	p.must("POST", "api/contents/old.txt/checkpoints", nil, nil)

	for room := 192 << 10; room >= 0; room -= times(16, 4) << 10 {
		d.leave(room)
		w.round(room)
		o, err := g.run(t.Context(), "flood 500 1000") // half a megabyte for the journal
		require.NoError(t, err)
		require.Equal(t, "ok", o.status, "a full disk is not the kernel's business")
		require.NoError(t, o.whole(500))
	}
	full := w.refused
	require.Positive(t, full, "the disk was never full")

	// A server that is killed on a full disk starts on it, too.
	d.leave(0)
	p.kill()
	p.start()
	w.check("after a kill")
	d.free()
	p.awaitIdle(own.Kernel.ID)
	for name, m := range w.sessions {
		var now model
		p.must("POST", "api/sessions", session(name), &now)
		require.Equal(t, m.ID, now.ID, "the session that was answered for %s", name)
	}
	w.refused = 0
	w.round(-1)
	require.Zero(t, w.refused, "with room again all goes on")
	t.Logf("%d requests were refused", full)
}

// writer makes requests that write, and knows what must be on the disk after each.
type writer struct {
	p        *plant
	t        *testing.T
	files    map[string]string // what was acknowledged
	sessions map[string]model
	refused  int
	n        int
}

func (w *writer) known(name, text string) {
	w.t.Helper()
	w.files, w.sessions = map[string]string{name: text}, map[string]model{}
	w.p.must("PUT", "api/contents/"+name, content(text), nil)
}

func content(text string) map[string]any {
	return map[string]any{"type": "file", "format": "text", "content": text}
}

// try asks for what may be refused for want of room, and for nothing else.
func (w *writer) try(method, path string, body, v any) (done bool) {
	w.t.Helper()
	status := w.p.ask(w.t.Context(), method, path, body, v)
	if status == 507 {
		w.refused++
		return false
	}
	require.True(w.t, status >= 200 && status < 300, "%s %s: %d", method, path, status)
	return true
}

// round makes each kind of request once.
func (w *writer) round(room int) {
	w.t.Helper()
	w.n++
	for _, size := range []int{1 << 10, 24 << 10, 100 << 10} {
		text := strings.Repeat(fmt.Sprintf("%7d\n", w.n), size/8)
		for _, name := range []string{"old.txt", fmt.Sprintf("new%d-%d.txt", w.n, size)} {
			if w.try("PUT", "api/contents/"+name, content(text), nil) {
				w.files[name] = text
			}
		}
	}
	w.upload(fmt.Sprintf("up%d.bin", w.n))
	w.try("POST", "api/contents/old.txt/checkpoints", nil, nil)
	to := fmt.Sprintf("moved%d.txt", w.n)
	for name, text := range w.files { // any but the old one
		if name != "old.txt" && w.try("PATCH", "api/contents/"+name, map[string]any{"path": to}, nil) {
			delete(w.files, name)
			w.files[to] = text
		}
		if name != "old.txt" {
			break
		}
	}
	name := fmt.Sprintf("s%d.ipynb", w.n)
	var m model
	if w.try("POST", "api/sessions", session(name), &m) {
		w.sessions[name] = m
	}
	w.check(fmt.Sprintf("with room for %d", room))
	for name, m := range w.sessions { // the kernels would be many, and their records take room
		if w.try("DELETE", "api/sessions/"+m.ID, nil, nil) {
			delete(w.sessions, name)
		}
	}
	for name := range w.files {
		if name != "old.txt" && w.try("DELETE", "api/contents/"+name, nil, nil) {
			delete(w.files, name)
		}
	}
}

// upload sends a file in numbered chunks, as notebooks do.
func (w *writer) upload(name string) {
	w.t.Helper()
	part := strings.Repeat("p", 12<<10)
	for _, chunk := range []int{1, 2, 3, -1} {
		body := map[string]any{"type": "file", "format": "base64", "chunk": chunk, "content": base64.StdEncoding.EncodeToString([]byte(part))}
		if !w.try("PUT", "api/contents/"+name, body, nil) {
			return // its parts vanish with time
		}
	}
	w.files[name] = strings.Repeat(part, 4)
}

// check compares the disk with what was acknowledged: each file whole, none besides.
func (w *writer) check(when string) {
	w.t.Helper()
	entries, err := os.ReadDir(w.p.root)
	require.NoError(w.t, err)
	seen := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") { // parts of uploads, checkpoints
			continue
		}
		raw, err := os.ReadFile(filepath.Join(w.p.root, e.Name()))
		require.NoError(w.t, err)
		text, ok := w.files[e.Name()]
		require.True(w.t, ok, "%s: %s is there, and nobody was told so", when, e.Name())
		require.True(w.t, text == string(raw), "%s: %s is not as it was acknowledged", when, e.Name())
		seen++
	}
	require.Equal(w.t, len(w.files), seen, when)
}
