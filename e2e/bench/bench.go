package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// bench is one run: its settings, the folder it works in, its servers, its values.
type bench struct {
	settings
	dir     string // everything the servers and kernels write; removed at the end
	began   time.Time
	machine machine
	waited  time.Duration // for others
	values  map[string]map[contestant]series
	servers []*server
	started int // servers, so far
}

// machine says where a run was made.
type machine struct {
	Hardware   string  `json:"hardware"`
	Software   string  `json:"software"`
	BusyBefore float64 `json:"busy_before"` // per cent, by others
	BusyAfter  float64 `json:"busy_after"`
	Waited     string  `json:"waited"` // for others to do little
}

// busyLook is how long the machine is watched for what others do.
const busyLook = time.Second

func newBench(s settings) (*bench, error) {
	if _, err := cpuTime(os.Getpid()); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "nbbench")
	if err != nil {
		return nil, err
	}
	b := &bench{settings: s, dir: dir, began: time.Now(), values: map[string]map[contestant]series{}}
	if err := b.prepare(); err != nil {
		b.close()
		return nil, err
	}
	b.machine = machine{
		Hardware:   fmt.Sprintf("%d processors (%s)", runtime.NumCPU(), processor()),
		Software:   b.software(),
		BusyBefore: busyShare(busyLook),
	}
	return b, nil
}

// prepare makes the folders and the synthetic kernel's kernelspec.
func (b *bench) prepare() error {
	for _, d := range []string{"home", "root", "share/kernels/synth"} {
		if err := os.MkdirAll(filepath.Join(b.dir, d), 0o700); err != nil {
			return err
		}
	}
	if _, err := os.Stat(b.synth); err != nil {
		return err
	}
	spec := fmt.Sprintf(`{"argv":[%q,"-f","{connection_file}"],"display_name":"Synthetic","language":"none"}`, b.synth)
	return os.WriteFile(filepath.Join(b.dir, "share/kernels/synth/kernel.json"), []byte(spec), 0o600)
}

// software names the versions that were measured.
func (b *bench) software() string {
	code := `import jupyter_server, ipykernel, sys; print(f"jupyter_server {jupyter_server.__version__}, ` +
		`ipykernel {ipykernel.__version__}, Python {sys.version.split()[0]}")`
	out, err := exec.Command(b.python, "-c", code).Output()
	if err != nil {
		return runtime.Version() + ", no peer"
	}
	return runtime.Version() + ", " + strings.TrimSpace(string(out))
}

// environ is what servers and kernels see: none of the user's own configuration.
func (b *bench) environ() []string {
	venv := filepath.Dir(filepath.Dir(b.python))
	in := func(name string) string { return filepath.Join(b.dir, name) }
	return []string{
		"PATH=" + filepath.Join(venv, "bin") + ":" + os.Getenv("PATH"),
		"HOME=" + in("home"),
		"LANG=C.UTF-8",
		"JUPYTER_PATH=" + in("share") + ":" + filepath.Join(venv, "share/jupyter"),
	}
}

// add notes a value of a figure.
func (b *bench) add(id string, c contestant, v float64) {
	findFigure(id)
	if b.values[id] == nil {
		b.values[id] = map[contestant]series{}
	}
	b.values[id][c] = append(b.values[id][c], v)
}

const (
	// quietLook is how long the machine is watched before each round.
	quietLook = 100 * time.Millisecond
	// quietShare is up to how much of the machine, in per cent, others may use in a quiet moment.
	quietShare = 10
	// quietWait bounds one wait: a WebSocket that nobody reads answers no pings.
	quietWait = 3 * time.Second
)

// quiet waits for a moment in which others do little, as long as there is patience. Servers that come to rest after
// the last round count as others.
func (b *bench) quiet(ctx context.Context) error {
	for began := time.Now(); ctx.Err() == nil && busyShare(quietLook) > quietShare; b.waited += quietLook {
		if b.waited >= b.patience || time.Since(began) > quietWait {
			break
		}
	}
	return ctx.Err()
}

// result is what was measured so far, in the table's order.
func (b *bench) result() result {
	b.machine.BusyAfter = busyShare(busyLook)
	b.machine.Waited = b.waited.Round(time.Second).String()
	r := result{When: b.began, Took: time.Since(b.began).Round(time.Second).String(), Machine: b.machine}
	for _, f := range figures {
		if v := b.values[f.id]; v != nil {
			r.Lines = append(r.Lines, newLine(f, v))
		}
	}
	return r
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%3.0fs] %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// close ends what runs and removes what was written.
func (b *bench) close() {
	b.stopServers()
	if err := os.RemoveAll(b.dir); err != nil {
		b.say("%v", err)
	}
}

// both starts the two servers.
func (b *bench) both() (ours, theirs *server, err error) {
	ours, err = b.startServer(nbserv)
	theirs, err2 := b.startServer(peer)
	return ours, theirs, errors.Join(err, err2)
}

// cost is what a measured piece of work took.
type cost struct {
	wall   time.Duration
	server time.Duration // CPU
	client time.Duration // CPU of this process
}

// measure runs work and tells what it cost a server, which may be nil, and us.
func measure(s *server, work func() error) (c cost, err error) {
	client, err := cpuTime(os.Getpid())
	if err != nil {
		return c, err
	}
	server, err := s.cpu()
	if err != nil {
		return c, err
	}
	began := time.Now()
	if err := work(); err != nil {
		return c, err
	}
	c.wall = time.Since(began)
	serverAfter, err := s.cpu()
	if err != nil {
		return c, err
	}
	clientAfter, err := cpuTime(os.Getpid())
	c.server, c.client = serverAfter-server, clientAfter-client
	return c, err
}

// each is d divided among n, in µs.
func each(d time.Duration, n int) float64 { return float64(d.Microseconds()) / float64(n) }

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
