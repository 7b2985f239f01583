package contents

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path"
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
	refused  prometheus.Counter

	load sync.Once // of the sidecars that an earlier process left

	mu      sync.Mutex
	uploads map[string]*Upload // by id; guarded by mu
}

func newStaging(d *Dir) *Staging {
	dir := d.cfg.StagingDir
	if dir == "" {
		dir = filepath.Join(d.root, reservedPrefix+"staging")
	}
	return &Staging{dir: d, sidecars: dir, ttl: d.cfg.StagingTTL, max: d.cfg.MaxUploads, refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "nbserv_staging_refusals_total", Help: "Uploads refused because too many were unfinished.",
	}), uploads: map[string]*Upload{}}
}

// Instrument adds the number of unfinished uploads, and of those refused, to reg. Call it once.
func (s *Staging) Instrument(reg prometheus.Registerer) error {
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nbserv_staging_uploads", Help: "Uploads that are not complete.",
	}, func() float64 { return float64(len(s.Uploads(Path{}))) })
	if err := reg.Register(open); err != nil {
		return err
	}
	return reg.Register(s.refused)
}

// Begin starts the upload id of a file of size bytes (or UnknownSize) at p, or finds it. An upload of that id
// for another path or size is Conflict, too many uploads are Busy. The folder must exist.
func (s *Staging) Begin(id string, p Path, size int64) (*Upload, error) {
	if err := s.dir.changeable("create", p); err != nil {
		return nil, err
	}
	if size < UnknownSize {
		return nil, fault.New(fault.Invalid, "%d is not a size", size)
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
	target, err := s.dir.tree.resolve(p.local())
	if err != nil {
		return nil, err
	}
	u := &Upload{staging: s, id: id, path: p, size: size, folder: path.Dir(target), name: path.Base(target),
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
	f, err := t.open(u.part, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	f.Close()
	if err := u.writeSidecar(); err != nil {
		_ = t.unlink(u.part)
		return nil, err
	}
	return u, nil
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
