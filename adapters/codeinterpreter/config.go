package codeinterpreter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// Config says how an Interpreter works.
type Config struct {
	// Dir is the absolute folder that holds the sessions' folders. It is made when it is missing.
	Dir string
	// BaseURL begins and ends the paths of links, as in cmd: "/" or "/base/".
	BaseURL string
	// Hide are absolute paths of the server's that no session may see.
	Hide []string
	// Pools, in the order of their names. Empty: DefaultPools.
	Pools []PoolConfig
	// MaxUpload is the size of the largest file that is uploaded in one request, in bytes. Default 128 MiB, the API's.
	MaxUpload int64
	// MaxBody is the largest body of an execution, in bytes. Default 16 MiB (guess).
	MaxBody int64
	// Keep is how long the outcome of an execution is remembered. Default 1 h.
	Keep time.Duration
	// Grace is how long code may take to end once it was interrupted; then its kernel is restarted. Default 5 s.
	Grace time.Duration
	// KeepAlive is how often a silent stream says that it is there: proxies cut what is silent for a minute. Default 15 s.
	KeepAlive time.Duration
	// SweepEvery is how often unused sessions and old executions are looked for. Default 2 s.
	SweepEvery time.Duration
	// Output bounds what an outcome holds.
	Output adapters.Limits
	// Exposed says that the server listens beyond loopback: pools that are not confined then serve nobody, unless
	// AllowUnconfined.
	Exposed         bool
	AllowUnconfined bool
	// CheckSandbox says why sessions cannot be confined, nil when they can. It is asked once.
	CheckSandbox func() error

	Logger  *slog.Logger          // default: discards
	Metrics prometheus.Registerer // default: a registry that nobody reads
}

// The defaults of Config and PoolConfig that the API or its vendor's service has, unless they say "guess".
const (
	defaultMaxUpload   = 128 << 20
	defaultMaxBody     = 16 << 20 // guess
	defaultKeep        = time.Hour
	defaultGrace       = 5 * time.Second // guess
	defaultKeepAlive   = 15 * time.Second
	defaultSweep       = 2 * time.Second // guess
	defaultMaxSessions = 100             // guess: each Python is 60 MB
	defaultCoolDown    = 300 * time.Second
	defaultMaxTimeout  = 220 * time.Second
	defaultQueue       = 32       // guess
	defaultDisk        = 10 << 30 // guess
	defaultMemory      = 4 << 30  // guess
	defaultProcesses   = 256      // guess
)

func (c Config) withDefaults() Config {
	c.MaxUpload = cmp.Or(c.MaxUpload, defaultMaxUpload)
	c.MaxBody = cmp.Or(c.MaxBody, defaultMaxBody)
	c.Keep = cmp.Or(c.Keep, defaultKeep)
	c.Grace = cmp.Or(c.Grace, defaultGrace)
	c.KeepAlive = cmp.Or(c.KeepAlive, defaultKeepAlive)
	c.SweepEvery = cmp.Or(c.SweepEvery, defaultSweep)
	c.BaseURL = cmp.Or(c.BaseURL, "/")
	if c.CheckSandbox == nil {
		c.CheckSandbox = func() error { return errors.New("nobody has looked") }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if len(c.Pools) == 0 {
		c.Pools = DefaultPools()
	}
	return c
}

// PoolConfig is one pool. Zero fields take the defaults, but for those that say otherwise.
type PoolConfig struct {
	Name   string // 1 to 24 letters, digits and dashes
	Kernel string // a kernelspec
	// Shell takes commands of a shell instead of code: Kernel is bash_kernel, or one that behaves like it.
	Shell bool
	// Ready is how many sessions are started ahead. 0 starts none.
	Ready       int
	MaxSessions int           // at a time. Default 100.
	CoolDown    time.Duration // how long a session lives after its last use. Default 300 s.
	MaxTimeout  time.Duration // of an execution, and what one has that names none. Default 220 s.
	Queue       int           // executions of one session that may wait. Default 32.

	// Isolation is "bubblewrap": sessions are confined or not started; "none": they are not confined; or "": they are
	// confined where that is possible.
	Isolation string
	// Runtime is a command that confines sessions in bubblewrap's place: see kernel.Sandbox.
	Runtime  []string
	Network  bool     // code may use the network
	ReadOnly []string // absolute paths that confined code sees besides the system's
	Env      map[string]string

	// Limits of each session. Default 4 GiB of memory and 256 processes.
	Limits kernel.Limits
	// Disk bounds what a session keeps, in bytes. Default 10 GiB.
	Disk int64
}

// DefaultPools are what there is when nothing is configured.
func DefaultPools() []PoolConfig {
	return []PoolConfig{{Name: "python", Kernel: "python3"}, {Name: "shell", Kernel: "bash", Shell: true}}
}

func (p PoolConfig) withDefaults() PoolConfig {
	p.MaxSessions = cmp.Or(p.MaxSessions, defaultMaxSessions)
	p.CoolDown = cmp.Or(p.CoolDown, defaultCoolDown)
	p.MaxTimeout = cmp.Or(p.MaxTimeout, defaultMaxTimeout)
	p.Queue = cmp.Or(p.Queue, defaultQueue)
	p.Disk = cmp.Or(p.Disk, defaultDisk)
	p.Limits.MemoryBytes = cmp.Or(p.Limits.MemoryBytes, defaultMemory)
	p.Limits.Processes = cmp.Or(p.Limits.Processes, defaultProcesses)
	return p
}

var poolName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,23}$`)

// The ways to isolate sessions.
const (
	isolationBubblewrap = "bubblewrap"
	isolationNone       = "none"
)

// Validate names the first field that makes no sense.
func (p PoolConfig) Validate() error {
	switch {
	case !poolName.MatchString(p.Name):
		return fault.New(fault.Invalid, "pool %.40q: a name has 1 to 24 letters, digits and dashes", p.Name)
	case p.Kernel == "":
		return fault.New(fault.Invalid, "pool %s: kernel is missing: the name of a kernelspec", p.Name)
	case p.Isolation != "" && p.Isolation != isolationBubblewrap && p.Isolation != isolationNone:
		return fault.New(fault.Invalid, "pool %s: isolation %.40q is neither %q nor %q", p.Name, p.Isolation, isolationBubblewrap, isolationNone)
	case p.Isolation == isolationNone && len(p.Runtime) > 0:
		return fault.New(fault.Invalid, "pool %s: isolation is %q, and yet there is a runtime", p.Name, isolationNone)
	case p.Ready < 0, p.MaxSessions < 0, p.CoolDown < 0, p.MaxTimeout < 0, p.Queue < 0, p.Disk < 0:
		return fault.New(fault.Invalid, "pool %s: a number is negative", p.Name)
	case p.Ready > p.withDefaults().MaxSessions:
		return fault.New(fault.Invalid, "pool %s: %d sessions cannot be ready, the most is %d", p.Name, p.Ready, p.withDefaults().MaxSessions)
	}
	if i := slices.IndexFunc(p.ReadOnly, func(dir string) bool { return !filepath.IsAbs(dir) }); i >= 0 {
		return fault.New(fault.Invalid, "pool %s: read_only: %.200q is not an absolute path", p.Name, p.ReadOnly[i])
	}
	if err := kernel.CheckEnv(p.Env); err != nil {
		return fault.Wrap(fault.Invalid, err, "pool %s: %s", p.Name, fault.Message(err))
	}
	if err := p.Limits.Validate(); err != nil {
		return fault.Wrap(fault.Invalid, err, "pool %s: %s", p.Name, fault.Message(err))
	}
	return nil
}

// poolFile is a pool as its configuration file has it.
type poolFile struct {
	Kernel      string            `json:"kernel"`
	Shell       bool              `json:"shell"`
	Ready       int               `json:"ready"`
	MaxSessions int               `json:"max_sessions"`
	CoolDown    float64           `json:"cool_down_seconds"`
	MaxTimeout  float64           `json:"max_timeout_seconds"`
	Queue       int               `json:"queue"`
	Isolation   string            `json:"isolation"`
	Runtime     []string          `json:"runtime"`
	Network     bool              `json:"network"`
	ReadOnly    []string          `json:"read_only"`
	Env         map[string]string `json:"env"`
	Limits      struct {
		Memory    byteSize `json:"memory"`
		Disk      byteSize `json:"disk"`
		CPUs      float64  `json:"cpus"`
		Processes int      `json:"processes"`
	} `json:"limits"`
}

// byteSize is a number of bytes, or a text such as "2GiB".
type byteSize int64

func (b *byteSize) UnmarshalJSON(raw []byte) error {
	n, err := kernel.ParseBytes(strings.Trim(string(raw), `"`))
	*b = byteSize(n)
	return err
}

// ReadPools reads a configuration file: {"pools": {NAME: {…}}}. Unknown fields are errors: they are misspelt.
func ReadPools(r io.Reader) ([]PoolConfig, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var file struct {
		Pools map[string]poolFile `json:"pools"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, err
	}
	if len(file.Pools) == 0 {
		return nil, errors.New(`there is no pool in it: {"pools": {"python": {"kernel": "python3"}}}`)
	}
	var pools []PoolConfig
	for name, f := range file.Pools {
		pools = append(pools, f.pool(name))
	}
	slices.SortFunc(pools, func(a, b PoolConfig) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range pools {
		if err := p.Validate(); err != nil {
			return nil, fmt.Errorf("%s", fault.Message(err))
		}
	}
	return pools, nil
}

func (f poolFile) pool(name string) PoolConfig {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	return PoolConfig{
		Name: name, Kernel: f.Kernel, Shell: f.Shell, Ready: f.Ready, MaxSessions: f.MaxSessions,
		CoolDown: seconds(f.CoolDown), MaxTimeout: seconds(f.MaxTimeout), Queue: f.Queue,
		Isolation: f.Isolation, Runtime: f.Runtime, Network: f.Network, ReadOnly: f.ReadOnly, Env: f.Env,
		Limits: kernel.Limits{MemoryBytes: int64(f.Limits.Memory), CPUs: f.Limits.CPUs, Processes: f.Limits.Processes},
		Disk:   int64(f.Limits.Disk),
	}
}
