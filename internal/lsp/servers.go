package lsp

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/clock"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/jupyterpath"
)

// Config says which language servers there are, and how they are run.
type Config struct {
	// Enabled is whether there are language servers at all.
	Enabled bool
	// Find is whether those are looked for that are known. Those that are configured are there anyway.
	Find bool
	// Files have further language servers, as Jupyter's configuration files have them; the last one wins.
	Files []string
	// NodeRoots are further folders whose node_modules may have language servers.
	NodeRoots []string
	// Max bounds the processes of one server, which take 100 MB and more each; beyond it a WebSocket is refused as Busy.
	// 0 is no bound.
	Max int
	// Dir is the absolute folder in which they run: the root of the files.
	Dir string
	// Env is the server's environment, by which they are found, and Environ the one ("NAME=value") that they get, without
	// the server's secrets.
	Env     map[string]string
	Environ []string
	// Pythons are the programs of the kernels, best first. They are asked for at each look.
	Pythons func() []string
	// InputTimeout is how long one may take no input. While it analyses, it may read nothing for long.
	InputTimeout time.Duration
	Logger       *slog.Logger // default: discards
}

// DefaultConfig finds and offers what is installed.
func DefaultConfig() Config {
	return Config{Enabled: true, Find: true, Max: 20, InputTimeout: time.Minute}
}

// Validate reports the first setting that makes no sense, naming its flag.
func (c Config) Validate() error {
	if c.Max < 0 {
		return fault.New(fault.Invalid, "--max-language-servers must not be negative")
	}
	return nil
}

// Servers are the language servers of one server. All methods are safe for concurrent use.
type Servers struct {
	cfg        Config // immutable
	configured *configured
	python     func() jupyterpath.Python // the one on PATH
	pythons    sync.Map                  // of programs: what they are

	ctx context.Context // ends when the server stops
	end context.CancelFunc

	mu     sync.Mutex // guards the rest
	uses   map[string]*use
	closed bool
	open   sync.WaitGroup // WebSockets
}

// use is what is known of a language server that was used.
type use struct {
	running    int       // processes, one for each WebSocket
	fromClient time.Time // when a message came last; zero: never
	fromServer time.Time
}

// New makes Servers of which none runs.
func New(cfg Config) *Servers {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	ctx, end := context.WithCancel(context.Background())
	return &Servers{
		cfg: cfg, configured: &configured{log: cfg.Logger, warned: map[string]string{}}, ctx: ctx, end: end, uses: map[string]*use{},
		python: sync.OnceValue(func() jupyterpath.Python { return jupyterpath.FindPython(cfg.Env) }),
	}
}

// Close ends all language servers and returns when the WebSockets to them are closed.
func (s *Servers) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.open.Wait()
}

// places are where language servers are looked for now.
func (s *Servers) places() *places {
	p := &places{env: s.cfg.Env, nodes: s.cfg.NodeRoots, root: s.cfg.Dir}
	if s.cfg.Pythons != nil {
		for _, exe := range s.cfg.Pythons() {
			if py := s.pythonAt(exe); py.Exe != "" {
				p.pythons = append(p.pythons, py)
			}
		}
	}
	if py := s.python(); py.Exe != "" {
		p.pythons = append(p.pythons, py)
	}
	return p
}

// pythonAt remembers what was found: a Python behind a script has to be run for it.
func (s *Servers) pythonAt(exe string) jupyterpath.Python {
	if py, ok := s.pythons.Load(exe); ok {
		return py.(jupyterpath.Python)
	}
	py := jupyterpath.PythonAt(exe, s.cfg.Env)
	if py.Exe != "" {
		s.pythons.Store(exe, py)
	}
	return py
}

// specs are all language servers that are known or configured, by name. Those without a command are not installed.
func (s *Servers) specs() map[string]Spec {
	all := map[string]Spec{}
	p := s.places()
	if s.cfg.Find {
		for _, k := range knowns {
			spec := k.spec(p.find(k))
			if spec.Argv != nil {
				spec.ConfigSchema = p.schema(k.key)
			}
			all[k.key] = spec
		}
	}
	var python jupyterpath.Python
	if len(p.pythons) > 0 {
		python = p.pythons[0]
	}
	for name, spec := range s.configured.read(jupyterpath.Config(s.cfg.Env, python), s.cfg.Files) {
		if len(spec.Argv) == 0 { // a user does not want it
			delete(all, name)
			continue
		}
		all[name] = spec
	}
	return all
}

// conn is a WebSocket's language server. Its methods are safe for concurrent use.
type conn struct {
	*process
	servers *Servers
	use     *use
}

// connect starts a language server by its name. Faults: NotFound for one that is not installed; Busy at the limit and when
// the server is stopping; Unstartable.
func (s *Servers) connect(name string) (*conn, error) {
	spec := s.specs()[name]
	if len(spec.Argv) == 0 {
		return nil, fault.New(fault.NotFound, "there is no language server %.128q", name)
	}
	u, err := s.enter(name)
	if err != nil {
		return nil, err
	}
	p, err := start(name, spec.Argv, spec.environ(s.cfg.Environ), s.cfg.Dir, s.cfg.InputTimeout)
	if err != nil {
		s.leave(u)
		s.cfg.Logger.Warn("a language server cannot be started", "language_server", name, "err", err)
		return nil, err
	}
	s.cfg.Logger.Info("language server started", "language_server", name, "pid", p.cmd.Process.Pid)
	return &conn{p, s, u}, nil
}

// enter counts one process more, if there may be one.
func (s *Servers) enter(name string) (*use, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := 0
	for _, u := range s.uses {
		running += u.running
	}
	switch {
	case s.closed:
		return nil, fault.New(fault.Busy, "the server is stopping")
	case s.cfg.Max > 0 && running >= s.cfg.Max:
		return nil, fault.New(fault.Busy, "%d language servers run already, which is the limit", running)
	}
	u := s.uses[name]
	if u == nil {
		u = &use{}
		s.uses[name] = u
	}
	u.running++
	s.open.Add(1)
	return u, nil
}

func (s *Servers) leave(u *use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.running--
	s.open.Done()
}

// close ends the process, and tells the log why it ended.
func (c *conn) close() {
	c.end()
	log := c.servers.cfg.Logger.With("language_server", c.name, "pid", c.cmd.Process.Pid)
	if c.died && !c.cmd.ProcessState.Success() {
		log.Warn("a language server ended by itself", "state", c.cmd.ProcessState.String(), "stderr", c.words.String())
	} else {
		log.Info("language server ended")
	}
	c.servers.leave(c.use)
}

// take hands on a message of the page's. Faults: Invalid for what is no message; Busy; Unstartable.
func (c *conn) take(text []byte) error {
	if !isMessage(text) {
		return fault.New(fault.Invalid, "a message is one JSON object")
	}
	c.note(&c.use.fromClient)
	return c.send(text)
}

// give hands on what the language server says, until one of them ends.
func (c *conn) give(ctx context.Context, send func([]byte) error) error {
	stop := context.AfterFunc(ctx, c.end)
	defer stop()
	for {
		text, err := c.next()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			err = c.why(err)
			c.servers.cfg.Logger.Warn("a page loses its language server", "language_server", c.name, "reason", fault.Message(err))
			return err
		}
		c.note(&c.use.fromServer)
		if err := send(text); err != nil {
			return err
		}
	}
}

func (c *conn) note(at *time.Time) {
	c.servers.mu.Lock()
	defer c.servers.mu.Unlock()
	*at = clock.AsSet(time.Now())
}
