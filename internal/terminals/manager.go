package terminals

import (
	"cmp"
	"context"
	"log/slog"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/clock"
	"github.com/nbserv/nbserv/internal/fault"
)

// Config says how terminals are run.
type Config struct {
	// Enabled is whether there are terminals at all.
	Enabled bool
	// Shell is the command line of the shell. Empty: $SHELL of Environ, else sh, as a login shell.
	Shell []string
	// Environ is the environment of shells ("NAME=value"), without the server's secrets.
	Environ []string
	// Dir is the absolute folder in which a terminal starts that asks for dir, an API path or an absolute one; nil
	// and "" are the server's own.
	Dir func(dir string) string
	// MaxTerminals bounds the terminals of one server; beyond it Create is Busy. Each costs up to 2 MiB.
	MaxTerminals int
	// CullInactiveTimeout ends terminals in which nothing was printed or typed this long. 0 is never.
	CullInactiveTimeout time.Duration
	// CullInterval is how often that is looked at.
	CullInterval time.Duration
	Logger       *slog.Logger // default: discards
}

// DefaultConfig is Config with the defaults of Jupyter.
func DefaultConfig() Config {
	return Config{Enabled: true, MaxTerminals: 100, CullInterval: 5 * time.Minute}
}

// Validate reports the first setting that makes no sense, naming its flag.
func (c Config) Validate() error {
	switch {
	case c.MaxTerminals < 0:
		return fault.New(fault.Invalid, "--max-terminals must not be negative")
	case c.CullInactiveTimeout < 0:
		return fault.New(fault.Invalid, "--terminal-cull-timeout must not be negative")
	case c.CullInterval < 0:
		return fault.New(fault.Invalid, "--terminal-cull-interval must not be negative")
	}
	return nil
}

// Manager is the terminals of one server. All methods are safe for concurrent use.
type Manager struct {
	cfg Config // immutable

	mu      sync.Mutex // guards the rest
	all     map[string]*Terminal
	closed  bool
	watches sync.WaitGroup
}

// New makes a Manager without terminals.
func New(cfg Config) *Manager {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.CullInterval == 0 {
		cfg.CullInterval = DefaultConfig().CullInterval
	}
	return &Manager{cfg: cfg, all: make(map[string]*Terminal)}
}

// Info describes a terminal.
type Info struct {
	Name         string
	LastActivity time.Time
}

// namePattern is what a client may call a terminal.
var namePattern = regexp.MustCompile(`^\w{1,64}$`)

// Create starts a terminal in dir. With a name that there is already it gives that terminal; without one it takes
// the smallest free number. Faults: Invalid for a bad name; Unstartable; Busy at the limit.
func (m *Manager) Create(name, dir string) (Info, error) {
	if name != "" && !namePattern.MatchString(name) {
		return Info{}, fault.New(fault.Invalid, "name: a terminal's name is 1 to 64 letters, digits and underscores")
	}
	m.mu.Lock()
	defer m.mu.Unlock() // a start takes a millisecond, and a second create of one name must see the first
	if t := m.all[name]; t != nil {
		return t.info(), nil
	}
	switch {
	case m.closed:
		return Info{}, fault.New(fault.Busy, "the server is stopping")
	case m.cfg.MaxTerminals > 0 && len(m.all) >= m.cfg.MaxTerminals:
		return Info{}, fault.New(fault.Busy, "%d terminals run already, which is the limit", len(m.all))
	}
	for n := 1; name == ""; n++ {
		if m.all[strconv.Itoa(n)] == nil {
			name = strconv.Itoa(n)
		}
	}
	t, err := start(name, m.command(dir))
	if err != nil {
		return Info{}, err
	}
	m.all[name] = t
	m.watches.Go(func() {
		<-t.done
		m.mu.Lock()
		delete(m.all, name)
		m.mu.Unlock()
		m.cfg.Logger.Info("terminal ended", "terminal", name)
	})
	m.cfg.Logger.Info("terminal started", "terminal", name)
	return t.info(), nil
}

func (m *Manager) command(dir string) *exec.Cmd {
	cmd := exec.Command(m.cfg.Shell[0], m.cfg.Shell[1:]...)
	cmd.Env = append(slices.Clone(m.cfg.Environ), "TERM=xterm-256color") // what xterm.js is
	if m.cfg.Dir != nil {
		cmd.Dir = m.cfg.Dir(dir)
	}
	return cmd
}

func (t *Terminal) info() Info {
	return Info{Name: t.name, LastActivity: clock.AsSet(t.lastActivity())}
}

// find gives a terminal by its name, or NotFound.
func (m *Manager) find(name string) (*Terminal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.all[name]; t != nil {
		return t, nil
	}
	return nil, fault.New(fault.NotFound, "Terminal not found: %.64s", name)
}

// Get describes a terminal, or is NotFound.
func (m *Manager) Get(name string) (Info, error) {
	t, err := m.find(name)
	if err != nil {
		return Info{}, err
	}
	return t.info(), nil
}

// List describes all terminals, ordered by name, numbers by their value.
func (m *Manager) List() []Info {
	m.mu.Lock()
	list := make([]Info, 0, len(m.all))
	for _, t := range m.all {
		list = append(list, t.info())
	}
	m.mu.Unlock()
	slices.SortFunc(list, func(a, b Info) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// Delete ends a terminal with all processes of its session, and returns when they are gone.
func (m *Manager) Delete(name string) error {
	t, err := m.find(name)
	if err != nil {
		return err
	}
	t.end()
	m.mu.Lock()
	if m.all[name] == t { // its watch may come later than the answer to this request
		delete(m.all, name)
	}
	m.mu.Unlock()
	return nil
}

// Run ends inactive terminals until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	if m.cfg.CullInactiveTimeout <= 0 {
		return
	}
	tick := time.NewTicker(m.cfg.CullInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, i := range m.List() {
			if idle := time.Since(i.LastActivity); idle > m.cfg.CullInactiveTimeout {
				m.cfg.Logger.Info("terminal is culled", "terminal", i.Name, "idle", idle)
				_ = m.Delete(i.Name) // it may have ended just now
			}
		}
	}
}

// Close ends all terminals and takes no new ones. It returns when they are gone.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	var ends sync.WaitGroup
	for _, i := range m.List() {
		ends.Go(func() { _ = m.Delete(i.Name) })
	}
	ends.Wait()
	m.watches.Wait()
}
