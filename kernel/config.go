package kernel

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// Config says how a Manager's kernels are run. The zero value of each field takes the default named there,
// except where zero means "off".
type Config struct {
	// RootDir is the absolute working folder of kernels that ask for none.
	RootDir string
	// RuntimeDir is where connection files and ipc sockets go: absolute, and short, for a socket's path may
	// have 107 bytes. Default: a folder of our own below the temporary folder.
	RuntimeDir string

	// StateDir is the absolute folder in which kernels are recorded, below "kernels", so that the next Manager of the
	// same folder takes them over: see Manager.Recover. Only one Manager at a time may have it. "" records nothing.
	StateDir string

	// StartTimeout is how long a kernel may take to open its sockets and answer. Default 60 s, as Jupyter's.
	StartTimeout time.Duration
	// ShutdownWait is how long a kernel may take to end when asked, before it is ended. Default 5 s.
	ShutdownWait time.Duration
	// RestartLimit is how often in a row a dead kernel is started again. Default 5, negative is never.
	RestartLimit int
	// StableAfter is the age at which a kernel's next death counts as its first. Default 10 s.
	StableAfter time.Duration
	// PendingKernels lets Start succeed with a dead kernel where its process cannot be started, as Jupyter
	// does with use_pending_kernels.
	PendingKernels bool
	// MaxKernels bounds the kernels of one server; beyond it Start is Busy. 0 is no bound.
	MaxKernels int

	// Limits are of each kernel for which neither its start nor its kernelspec says otherwise.
	Limits Limits

	// CullIdleTimeout is the idle time, counted from the end of work, after which a kernel is shut down. 0 is never.
	CullIdleTimeout time.Duration
	// CullInterval is how often that is looked at. Default 300 s, as Jupyter's.
	CullInterval  time.Duration
	CullConnected bool // also with clients attached
	CullBusy      bool // also while it executes

	// DetachedTTL is how long the place of a client session that has gone is kept. Default 1 h.
	DetachedTTL time.Duration
	// Heartbeat is how often a kernel is asked for a sign of life. Default 10 s; negative is never.
	Heartbeat time.Duration
	// Journal bounds each kernel's journal, which is on disk where there is a StateDir.
	Journal JournalLimits
	// JournalsBytes bounds what all journals hold on disk together. Default 2 GiB.
	JournalsBytes int64

	Logger *slog.Logger // default: discards
}

// Validate reports the first setting that makes no sense, naming its flag, or its field if it has none.
func (c Config) Validate() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"kernel-start-timeout", c.StartTimeout}, {"shutdown-wait", c.ShutdownWait}, {"cull-idle-timeout", c.CullIdleTimeout},
		{"cull-interval", c.CullInterval}, {"detached-ttl", c.DetachedTTL},
	} {
		if d.value < 0 {
			return fault.New(fault.Invalid, "--%s must not be negative", d.flag)
		}
	}
	if c.MaxKernels < 0 {
		return fault.New(fault.Invalid, "--max-kernels must not be negative")
	}
	if c.Journal.DiskBytes != 0 && c.Journal.DiskBytes < minJournalBytes {
		return fault.New(fault.Invalid, "--journal-max-bytes must be at least %d", minJournalBytes)
	}
	if c.JournalsBytes != 0 && c.JournalsBytes < max(c.Journal.DiskBytes, minJournalBytes) {
		return fault.New(fault.Invalid, "--journals-max-bytes must be at least --journal-max-bytes")
	}
	if most := cmp.Or(c.Journal.MaxBytes, defaultMaxBytes); c.Journal.KeepBytes > most || c.Journal.AwayBytes > most {
		return fault.New(fault.Invalid, "Journal: KeepBytes and AwayBytes must not exceed MaxBytes, %d", most)
	}
	for _, l := range []struct {
		flag string
		only Limits
	}{
		{"kernel-memory-limit", Limits{MemoryBytes: c.Limits.MemoryBytes}},
		{"kernel-cpu-limit", Limits{CPUs: c.Limits.CPUs}},
		{"kernel-max-processes", Limits{Processes: c.Limits.Processes}},
	} {
		if err := l.only.Validate(); err != nil {
			return fault.New(fault.Invalid, "--%s: %s", l.flag, fault.Message(err))
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.StartTimeout, 60*time.Second)
	set(&c.StableAfter, 10*time.Second)
	set(&c.CullInterval, 300*time.Second)
	set(&c.DetachedTTL, time.Hour)
	set(&c.Heartbeat, 10*time.Second)
	set(&c.ShutdownWait, 5*time.Second)
	c.JournalsBytes = cmp.Or(c.JournalsBytes, DefaultJournalsBytes)
	if c.RuntimeDir == "" {
		c.RuntimeDir = filepath.Join(os.TempDir(), "nbserv-"+strconv.Itoa(os.Getuid()))
	}
	if c.RestartLimit == 0 {
		c.RestartLimit = 5
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
