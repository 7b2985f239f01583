package contents

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nbserv/nbserv/internal/fault"
)

// UnknownSize is the size of an upload whose end is known only when it comes.
const UnknownSize = -1

// Staging keeps the parts of files that are not complete. An upload's bytes are a hidden sibling of their
// target; which ranges it holds is in a sidecar file, so that both outlive the server. The target's name
// appears only at the commit (promise P8). Safe for concurrent use.
type Staging struct {
	// immutable
	dir      *Dir
	sidecars string // absolute
	ttl      time.Duration
	max      int
	maxSize  int64  // bytes of one upload
	maxBytes int64  // that all uploads may hold
	boot     string // which run of the machine this is; "" when it cannot be told
	refused  prometheus.Counter

	load sync.Once // of the sidecars that an earlier process left

	mu      sync.Mutex
	uploads map[string]*Upload // by id; guarded by mu
	pending int64              // bytes that are being written; guarded by mu
}

func newStaging(d *Dir) *Staging {
	dir := d.cfg.StagingDir
	if dir == "" {
		dir = filepath.Join(d.root, reservedPrefix+"staging")
	}
	return &Staging{dir: d, sidecars: dir, ttl: d.cfg.StagingTTL, max: d.cfg.MaxUploads,
		maxSize: d.cfg.MaxUpload, maxBytes: d.cfg.MaxStaging, boot: bootID(), refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nbserv_staging_refusals_total", Help: "Uploads and parts refused because too much was unfinished.",
		}), uploads: map[string]*Upload{}}
}

// Instrument adds the number of unfinished uploads, and of those refused, to reg. Call it once.
func (s *Staging) Instrument(reg prometheus.Registerer) error {
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nbserv_staging_uploads", Help: "Uploads that are not complete.",
	}, func() float64 { return float64(len(s.Uploads(Path{}))) })
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nbserv_staging_bytes", Help: "Bytes that unfinished uploads hold.",
	}, func() float64 { return float64(s.Held()) })
	for _, g := range []prometheus.Collector{open, held} {
		if err := reg.Register(g); err != nil {
			return err
		}
	}
	return reg.Register(s.refused)
}

// Begin starts the upload id of a file of size bytes (or UnknownSize) at p, or finds it. An upload of that id
// for another path or size is Conflict, too many uploads are Busy, a size over Config.MaxUpload is TooLarge. The
// folder must exist, unless Config.ForPrograms.
func (s *Staging) Begin(id string, p Path, size int64) (*Upload, error) {
	if err := s.dir.changeable("create", p); err != nil {
		return nil, err
	}
	if size < UnknownSize {
		return nil, fault.New(fault.Invalid, "%d is not a size", size)
	}
	if err := s.fits(size); err != nil {
		return nil, err
	}
	s.loadSidecars()
	if u := s.find(id); u != nil {
		return u, u.same(p, size)
	}
	u, err := s.create(id, p, size)
	if err != nil {
		return nil, s.dir.fault(err, p)
	}
	if other, err := s.enter(u); other != u { // another one was faster, or there are too many
		u.removeFiles()
		if err == nil {
			err = other.same(p, size)
		}
		return other, err
	}
	return u, nil
}

func (s *Staging) find(id string) *Upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uploads[id]
}

// enter adds u, or finds the one that has its id already.
func (s *Staging) enter(u *Upload) (*Upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.uploads[u.id]; other != nil {
		return other, nil
	}
	if len(s.uploads) >= s.max {
		s.refused.Inc()
		return nil, fault.New(fault.Busy, "%d uploads are unfinished, no more are taken", s.max)
	}
	s.uploads[u.id] = u
	return u, nil
}

// create makes the files of an upload.
func (s *Staging) create(id string, p Path, size int64) (*Upload, error) {
	at, err := s.dir.place(p)
	if err != nil {
		return nil, err
	}
	u := &Upload{staging: s, id: id, path: p, size: size, place: at,
		part: tempName(), modified: time.Now(), writers: map[*writer]struct{}{}, turn: make(chan struct{}, 1)}
	t, err := u.openTarget()
	if err != nil {
		return nil, err
	}
	defer t.close()
	if !t.writable() {
		return nil, fault.New(fault.Forbidden, "permission denied: %s", p.Parent())
	}
	perm := uint32(0o666)
	if s.dir.exists(p) {
		perm = 0o600 // what was secret stays so until the old mode is set
	}
	// First the sidecar: one without a part is found and dropped, a part without a sidecar would stay for ever.
	if err := u.writeSidecar(); err != nil {
		u.removeSidecar()
		return nil, err
	}
	f, err := t.open(u.part, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		u.removeSidecar()
		return nil, err
	}
	return u, f.Close()
}

// fits says whether an upload may have n bytes.
func (s *Staging) fits(n int64) error {
	if n > s.maxSize {
		return fault.New(fault.TooLarge, "the upload has %d bytes, at most %d are taken", n, s.maxSize)
	}
	return nil
}

// Held is how many bytes all unfinished uploads hold.
func (s *Staging) Held() int64 {
	s.loadSidecars()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held()
}

// held counts what is stored and what is being written. Call it with mu held.
func (s *Staging) held() int64 {
	n := s.pending
	for _, u := range s.uploads {
		n += u.bytes.Load()
	}
	return n
}

// reserve makes room for n further bytes until release; NoSpace when all uploads together would hold too many.
func (s *Staging) reserve(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.held(); n > s.maxBytes-held {
		s.refused.Inc()
		return fault.New(fault.NoSpace, "unfinished uploads hold %d bytes, at most %d are kept: %d more do not fit", held, s.maxBytes, n)
	}
	s.pending += n
	return nil
}

func (s *Staging) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending -= n
}

// dropLost ends the uploads at and below p whose parts were deleted together with their folder.
func (s *Staging) dropLost(p Path) {
	for _, u := range s.Uploads(p) {
		f, err := u.openPart()
		if err == nil {
			f.Close()
			continue
		}
		_ = u.Cancel() // ended meanwhile is as good
	}
}

// Upload finds an upload by its id; an unknown one is NotFound.
func (s *Staging) Upload(id string) (*Upload, error) {
	s.loadSidecars()
	if u := s.find(id); u != nil {
		return u, nil
	}
	return nil, fault.New(fault.NotFound, "no upload %q", id)
}

// Uploads lists the uploads of p and of what lies below it, by path and id.
func (s *Staging) Uploads(p Path) []*Upload {
	s.loadSidecars()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Upload
	for _, u := range s.uploads {
		if p.Contains(u.path) {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b *Upload) int {
		return cmp.Or(cmp.Compare(a.path.rel, b.path.rel), cmp.Compare(a.id, b.id))
	})
	return all
}

// Run removes uploads that have stood still for the time to live, until ctx ends. It always returns nil.
func (s *Staging) Run(ctx context.Context) error {
	s.loadSidecars()
	tick := time.NewTicker(max(s.ttl/4, time.Second))
	defer tick.Stop()
	for {
		s.sweep()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Staging) sweep() {
	for _, u := range s.Uploads(Path{}) {
		if u.abandoned(s.ttl) {
			_ = u.Cancel() // one that a client has just finished or cancelled is gone as well
		}
	}
}

func (s *Staging) forget(u *Upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploads[u.id] == u {
		delete(s.uploads, u.id)
	}
}

func (s *Staging) loadSidecars() { s.load.Do(s.readSidecars) }

// removeDir takes away the sidecars' folder when it is in the root and empty: nothing of ours stays in sight.
func (s *Staging) removeDir() {
	if s.dir.cfg.StagingDir == "" {
		_ = os.Remove(s.sidecars) // fails while another upload has its sidecar there
	}
}

// errGone is an upload that was committed or cancelled meanwhile.
var errGone = errors.New("the upload has ended")
