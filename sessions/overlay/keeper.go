package overlay

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// Defaults of Config.
const (
	defaultAsleep = 24 * time.Hour
	defaultQuiet  = 10 * time.Second
)

// DefaultConfig is the Config with every default filled in, as a command line shows them.
func DefaultConfig() Config { return Config{Asleep: defaultAsleep, Quiet: defaultQuiet} }

// Validate names the flag that is wrong.
func (c Config) Validate() error {
	if c.Asleep < 0 {
		return fault.New(fault.Invalid, "--page-asleep-timeout should not be negative")
	}
	return nil
}

// Config says how a Keeper works. The zero value is usable.
type Config struct {
	// Asleep is how long a page that went without a goodbye may come back: its laptop was closed, its network is
	// gone. As long, nothing is written into a file that it may have open. 0: it will not come back.
	Asleep time.Duration
	// Quiet is how long nobody must have looked at a notebook before finished outputs are written into its file: a
	// page reads it before it comes to its kernel. Default 10 seconds.
	Quiet  time.Duration
	Logger *slog.Logger // default: discards
}

// Sessions tells which notebooks kernels have. *sessions.Manager is one.
type Sessions interface {
	Notebooks(kernelID string) []string // API paths
	Kernels(apiPath string) []string
}

// Files are the notebooks. *contents.Dir is one.
type Files interface {
	// EditNotebook reads the notebook at an API path, and writes it when edit says so. modified is when it was
	// last written. One that cannot be written without loss is Conflict.
	EditNotebook(ctx context.Context, path string, edit func(nb *nbformat.Notebook, modified time.Time) bool) error
}

// Keeper keeps the outputs of executions whose pages have gone. All methods are safe for concurrent use.
type Keeper struct {
	// immutable
	cfg      Config
	log      *slog.Logger
	host     kernel.Host
	sessions Sessions
	db       *SQLite
	start    chan *book    // kernels to follow, for Run
	running  chan struct{} // closed by Run
	files    Files         // set by Run before it closes running

	locks pathLocks

	mu      sync.Mutex
	books   map[string]*book              // guarded by mu; by kernel
	paths   map[string]map[*book]struct{} // guarded by mu; the books that have something for a notebook
	indexed map[*book][]string            // guarded by mu; the same, the other way round
}

// New makes a Keeper of what db has. What it has is there for readers at once; Run does the rest.
func New(ctx context.Context, cfg Config, host kernel.Host, sessions Sessions, db *SQLite) (*Keeper, error) {
	cfg.Quiet = cmp.Or(cfg.Quiet, defaultQuiet)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{
		cfg: cfg, log: cfg.Logger, host: host, sessions: sessions, db: db,
		start: make(chan *book), running: make(chan struct{}),
		books: map[string]*book{}, paths: map[string]map[*book]struct{}{}, indexed: map[*book][]string{},
	}
	books, err := db.load(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range books {
		k.books[b.kernel] = b
		k.index(b)
	}
	return k, nil
}

// startupPause is left to pages that come back to a new server before journals are read for those that do not.
const startupPause = 5 * time.Second

// sweepEvery is how often the Keeper looks what can be put away.
const sweepEvery = time.Second

// Run does what the Keeper does by itself, until ctx ends. It is called once.
func (k *Keeper) Run(ctx context.Context, files Files) {
	k.files = files
	close(k.running)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for st := range k.host.Watch(ctx) {
			k.hear(ctx, st)
		}
	})
	wg.Go(func() { k.sweep(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-k.start:
			wg.Go(func() { k.follow(ctx, b) })
		}
	}
}

// book finds a kernel's book, or begins one.
func (k *Keeper) book(kernelID string) *book {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.books[kernelID]
	if b == nil {
		b = newBook(strings.Clone(kernelID))
		k.books[b.kernel] = b
	}
	return b
}

// hear takes the news of a kernel.
func (k *Keeper) hear(ctx context.Context, st kernel.Status) {
	b := k.book(st.ID)
	k.mu.Lock()
	fresh := !b.known && st.Position.Seq == 0 && k.indexed[b] == nil // a new kernel: nothing was missed
	b.known = b.known || fresh
	b.heard = st.Departed
	due := b.known && st.Departed != b.departed || st.Gone
	k.mu.Unlock()
	if due {
		k.ensure(ctx, b)
	}
}

// ensure has a kernel followed.
func (k *Keeper) ensure(ctx context.Context, b *book) {
	k.mu.Lock()
	already := b.following
	b.following, b.known = true, true
	k.mu.Unlock()
	if already {
		return
	}
	select {
	case k.start <- b:
	case <-ctx.Done():
		k.mu.Lock()
		b.following = false
		k.mu.Unlock()
	}
}

// at gives the books that may have something for a notebook.
func (k *Keeper) at(path string) []*book {
	live := k.sessions.Kernels(path)
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []*book
	for b := range k.paths[path] {
		list = append(list, b)
	}
	for _, id := range live {
		if b := k.books[id]; b != nil && !slices.Contains(list, b) {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b *book) int { return strings.Compare(a.kernel, b.kernel) })
	return list
}

// index finds b by its notebooks as long as it has executions.
func (k *Keeper) index(b *book) {
	b.mu.Lock()
	now := b.notebooks()
	b.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.indexed[b] {
		if delete(k.paths[p], b); len(k.paths[p]) == 0 {
			delete(k.paths, p)
		}
	}
	delete(k.indexed, b)
	if len(now) == 0 {
		return
	}
	k.indexed[b] = now
	for _, p := range now {
		if k.paths[p] == nil {
			k.paths[p] = map[*book]struct{}{}
		}
		k.paths[p][b] = struct{}{}
	}
}

// notebooks are the paths at which b's executions may have their cells; none when it has no executions. mu is held.
func (b *book) notebooks() []string {
	if len(b.order) == 0 {
		return nil
	}
	list := slices.Clone(b.Paths)
	for _, x := range b.order {
		for p := range x.Places {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// refresh asks which notebooks the kernel has now. A kernel that has lost its sessions keeps the last ones.
func (k *Keeper) refresh(b *book) {
	now := slices.DeleteFunc(k.sessions.Notebooks(b.kernel), func(p string) bool { return !strings.HasSuffix(p, ".ipynb") })
	b.mu.Lock()
	if len(now) > 0 {
		b.Paths = now
	}
	b.mu.Unlock()
	k.index(b)
}

// Closed is told that a client session's connection ends; left says that it said goodbye, as a page does that is
// closed. It is called before the kernel hears of it.
func (k *Keeper) Closed(kernelID, clientSession string, left bool) {
	k.mu.Lock()
	b := k.books[kernelID]
	k.mu.Unlock()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.left, clientSession)
	if !left {
		return
	}
	for s := range b.left {
		if len(b.left) < maxPages {
			break
		}
		delete(b.left, s) // whichever: one that is forgotten is taken to be asleep
	}
	b.left[clientSession] = true
}
