package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/remote"
)

const (
	// lockWait is how long a kernel host waits for one that is just ending.
	lockWait = 3 * time.Second
	// defaultLinger is how long a kernel host stays with neither a kernel nor a server: a server that is started
	// again finds it.
	defaultLinger = 10 * time.Second
	// lingerLook is how often a kernel host looks whether it is still of use.
	lingerLook = time.Second
	// hostStopTime bounds the end of a kernel host's kernels when it is told to end by a signal.
	hostStopTime = 9 * time.Second
)

// hostOptions are the flags of nbserv host. Everything about the kernels is told by the server that connects.
type hostOptions struct {
	state, socket    string
	logFile          string
	logLevel, format string
	linger           time.Duration
}

func hostCommand(env environment, stderr io.Writer) *cobra.Command {
	var o hostOptions
	o.linger = defaultLinger
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Run the kernels of a state folder, for servers; nbserv starts it by itself",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if o.state == "" {
				return errors.New("--state-dir: the kernels' folder must be given")
			}
			if err := runHost(o, env, stderr); err != nil {
				return &serveError{err}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.state, "state-dir", "", "folder of the kernels' records and journals")
	f.StringVar(&o.socket, "socket", "", "path of the unix socket, in a folder of mode 0700 (default: one in a runtime folder)")
	f.StringVar(&o.logFile, "log-file", "", "file for the log, of bounded size (default: standard error)")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.format, "log-format", "text", "text or json")
	f.Var((*durationValue)(&o.linger), "linger", "how long to stay with neither kernels nor a server; negative: for ever")
	return cmd
}

// kernelHost is the kernels of one process and the socket they are offered on.
type kernelHost struct {
	// immutable
	state    string
	log      *slog.Logger
	registry *prometheus.Registry
	server   *remote.Server
	running  context.Context // for what the kernels do by themselves
	end      context.CancelFunc
	wg       sync.WaitGroup

	mu       sync.Mutex
	kernels  *ownKernels    // guarded by mu; nil until a server has told how to run them
	settings kernelSettings // guarded by mu; the latest
}

// runHost runs a kernel host until it is told to end, or of no use any more.
func runHost(o hostOptions, env environment, stderr io.Writer) error {
	state, err := filepath.Abs(o.state)
	if err != nil {
		return err
	}
	out := stderr
	if o.logFile != "" {
		f, err := openLog(o.logFile)
		if err != nil {
			return fmt.Errorf("--log-file: %w", err)
		}
		defer f.Close()
		out = f
	}
	log, err := newLogger(out, o.logLevel, o.format)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP) // it outlives its server's terminal
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	lock, err := awaitLock(filepath.Join(state, hostLockFile), lockWait)
	if err != nil {
		return fmt.Errorf("another kernel host, or a server, has the kernels of %s: %w", state, err)
	}
	defer lock.Close()
	if o.socket == "" {
		if o.socket, err = socketPath(env, state); err != nil {
			return err
		}
	}
	ln, err := remote.Listen(o.socket, log)
	if err != nil {
		return fmt.Errorf("--socket: %w", err)
	}
	h := newKernelHost(state, log)
	note := hostNote{Socket: o.socket, PID: os.Getpid(), Version: version}
	if err := writeNote(filepath.Join(state, hostNoteFile), note); err != nil {
		_ = ln.Close()
		return err
	}
	log.Info("kernel host serves", "path", o.socket, "version", version)
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(ln) }()
	why := h.stay(signals, o.linger)
	h.server.Close()
	err = errors.Join(<-served, h.leave())
	_ = os.Remove(filepath.Join(state, hostNoteFile)) // while the lock is held: it is ours
	log.Info("kernel host ended", "reason", why)
	return err
}

func newKernelHost(state string, log *slog.Logger) *kernelHost {
	h := &kernelHost{state: state, log: log, registry: prometheus.NewRegistry()}
	own := prometheus.WrapRegistererWithPrefix("nbserv_kernel_host_", h.registry)
	own.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h.running, h.end = context.WithCancel(context.Background())
	h.server = remote.NewServer(remote.ServerOptions{
		Open: h.open, Stop: h.stop, Gather: h.registry, Version: version, Logger: log,
	})
	return h
}

// stay returns when the kernel host is to end, with the reason.
func (h *kernelHost) stay(signals <-chan os.Signal, linger time.Duration) string {
	look := time.NewTicker(lingerLook)
	defer look.Stop()
	needed := time.Now()
	for {
		select {
		case sig := <-signals:
			if err := h.stop(hostStopTime); err != nil {
				h.log.Warn("kernels were cut off", "err", err)
			}
			return sig.String()
		case <-h.server.Stopped():
			return "a server said so"
		case <-look.C:
			if linger < 0 || h.needed() {
				needed = time.Now()
			}
			if time.Since(needed) > linger {
				return "neither a kernel nor a server"
			}
		}
	}
}

// needed tells whether there is a server, or a kernel.
func (h *kernelHost) needed() bool {
	if h.server.Servers() > 0 {
		return true
	}
	h.mu.Lock()
	k := h.kernels
	h.mu.Unlock()
	if k == nil {
		return false
	}
	for _, st := range k.List() {
		if st.Alive() {
			return true
		}
	}
	return false
}

// open is called with the settings of each server that connects: the first says how the kernels are run.
func (h *kernelHost) open(ctx context.Context, raw json.RawMessage) (kernel.Host, []string, error) {
	var k kernelSettings
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	own, before := h.kernels, h.settings
	h.mu.Unlock()
	if own != nil {
		notes := own.configure(before, k)
		h.mu.Lock()
		h.settings = k
		h.mu.Unlock()
		return own, notes, nil
	}
	own, err := newOwnKernels(ctx, k, h.state, h.log, h.registry)
	if err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	h.kernels, h.settings = own, k
	h.mu.Unlock()
	h.wg.Go(func() { own.Run(h.running) })
	return own, nil, nil
}

// stop ends the kernels.
func (h *kernelHost) stop(timeout time.Duration) error {
	h.mu.Lock()
	k := h.kernels
	h.mu.Unlock()
	if k == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return k.Close(ctx)
}

// leave parts with what kernels there still are.
func (h *kernelHost) leave() error {
	h.end()
	h.wg.Wait()
	h.mu.Lock()
	k := h.kernels
	h.mu.Unlock()
	if k == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), hostStopTime)
	defer cancel()
	return k.Leave(ctx)
}

// lockFile makes and locks a file; EWOULDBLOCK says that another process has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// awaitLock is lockFile that waits a little for a process that is ending.
func awaitLock(path string, wait time.Duration) (*os.File, error) {
	for deadline := time.Now().Add(wait); ; time.Sleep(wait / 100) {
		f, err := lockFile(path)
		if !errors.Is(err, syscall.EWOULDBLOCK) || !time.Now().Before(deadline) {
			return f, err
		}
	}
}

// maxSocket is the longest path of a unix socket on every system: the shortest is macOS's, of 104 bytes with its end.
const maxSocket = 103

// socketPath is the path of a kernel host's socket: in the user's runtime folder where there is one, else below the
// temporary folder. It is short, whatever the state folder's path.
func socketPath(env environment, state string) (string, error) {
	sum := sha256.Sum256([]byte(state))
	name := "host-" + hex.EncodeToString(sum[:6]) + ".sock"
	own := "nbserv-" + strconv.Itoa(os.Geteuid())
	var errs []error
	for _, dir := range []string{env.vars["XDG_RUNTIME_DIR"], os.TempDir(), "/tmp"} {
		path := filepath.Join(dir, own, name)
		if !filepath.IsAbs(path) || len(path) > maxSocket {
			continue
		}
		err := privateDir(filepath.Dir(path))
		if err == nil {
			return path, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no folder for the kernel host's socket: %w", errors.Join(errs...))
}

// privateDir makes a folder that nobody else can use, or finds it so.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a folder of ours alone", dir)
	}
	return nil
}

// writeNote writes v as JSON, whole or not at all.
func writeNote(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
