package codeinterpreter

import (
	"context"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
)

// session is what an identifier names: a folder and, once there was something to run, a kernel. Safe for concurrent use.
type session struct {
	// immutable
	pool       *pool
	identifier string
	created    time.Time
	begun      chan struct{} // closed when begin has ended; what it sets is immutable from then on
	gone       chan struct{} // closed when the session has ended
	turn       chan struct{} // holds one token: whoever has it may start the kernel or end the session

	// set by begin
	id     string // names the folder
	folder folder
	files  *contents.Dir
	failed error // begin's; the session does not exist then

	mu         sync.Mutex // guards the rest
	kernelID   string
	jupyterID  string // of the session that JupyterLab shows; "" before the kernel has started
	used       time.Time
	ending     bool
	queue      []*execution
	working    *execution // being run
	running    bool       // a goroutine works on the queue
	executions map[string]*execution
	ended      []*execution // of executions, those that have ended, oldest first
	seq        int64
	line       *line // between executions; nil during one, and when none was of late
}

func (p *pool) newSession(identifier string, created time.Time) *session {
	return &session{
		pool: p, identifier: identifier, created: created,
		begun: make(chan struct{}), gone: make(chan struct{}), turn: make(chan struct{}, 1),
		used: time.Now(), executions: map[string]*execution{},
	}
}

// begin makes the session: of a ready one, or a new folder. It closes begun.
func (s *session) begin(ctx context.Context) {
	defer close(s.begun)
	o, ready := s.pool.warm.Take()
	if !ready {
		if o, s.failed = s.pool.prepare(); s.failed == nil {
			o = s.pool.warm.Mark(o)
		}
	}
	if s.failed == nil {
		s.failed = s.settle(ctx, o)
		if s.failed != nil {
			_ = s.pool.of.host.Shutdown(ctx, o.ID) // NotFound when it has not started
			s.pool.discard(o)
		}
	}
	if s.failed != nil {
		s.pool.forget(s)
		close(s.gone)
	}
}

// settle writes the session down.
func (s *session) settle(ctx context.Context, o kernel.StartOptions) (err error) {
	s.folder = folderOf(o)
	s.id = filepath.Base(s.folder.path)
	s.mu.Lock()
	s.kernelID = o.ID
	s.mu.Unlock()
	if s.files, err = s.folder.open(s.pool.of.cfg.MaxUpload); err != nil {
		return err
	}
	if err := s.pool.of.table.putSession(ctx, s.row()); err != nil {
		_ = s.files.Close()
		return err
	}
	s.turn <- struct{}{}
	s.pool.of.cfg.Logger.Info("code interpreter session created", "pool", s.pool.Name, "session_id", s.id, "kernel_id", o.ID)
	return nil
}

// restored makes a session of an earlier server's.
func (p *pool) restored(r sessionRow) (*session, error) {
	s := p.newSession(r.identifier, r.created)
	s.id, s.folder = r.id, p.folder(r.id)
	s.kernelID, s.jupyterID = r.kernelID, r.jupyterID
	err := p.makeFolder(s.folder)
	if err == nil {
		s.files, err = s.folder.open(p.of.cfg.MaxUpload)
	}
	s.turn <- struct{}{}
	close(s.begun)
	return s, err
}

func (s *session) row() sessionRow {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sessionRow{
		pool: s.pool.Name, identifier: s.identifier, id: s.id, kernelID: s.kernelID, jupyterID: s.jupyterID, created: s.created,
	}
}

// home is where the session's code sees its home.
func (s *session) home() string {
	if s.pool.isolation().kind == isolationBubblewrap {
		return kernel.SandboxHome
	}
	return s.folder.home()
}

func (s *session) hasBegun() bool {
	select {
	case <-s.begun:
		return s.failed == nil
	default:
		return false
	}
}

// use notes that a client needs the session; false when it is ending.
func (s *session) use() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	s.used = time.Now()
	return true
}

func (s *session) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

func (s *session) kernel() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kernelID
}

// times are when the session was used last, by a client of this API or in its kernel, and when it will end.
func (s *session) times() (used, expires time.Time, busy bool) {
	s.mu.Lock()
	used, busy = s.used, s.running
	id := s.kernelID
	s.mu.Unlock()
	if st, err := s.pool.of.host.Get(id); err == nil {
		busy = busy || st.ExecutionState == stateBusy
		if st.LastActivity.After(used) {
			used = st.LastActivity
		}
	}
	return used, used.Add(s.pool.CoolDown), busy
}

// take waits for the turn to start or end the kernel.
func (s *session) take(ctx context.Context) error {
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) release() { s.turn <- struct{}{} }

// start sees to it that the session of the Executor has this session's kernel, which is started where there is none that
// lives. anew tells that there was one before, with its variables.
func (s *session) start(ctx context.Context) (anew bool, err error) {
	if err := s.take(ctx); err != nil {
		return false, err
	}
	defer s.release()
	if s.isEnding() {
		return false, fault.New(fault.Gone, "the session was deleted")
	}
	s.mu.Lock()
	kernelID, before := s.kernelID, s.jupyterID
	s.mu.Unlock()
	st, err := s.pool.of.host.Get(kernelID)
	switch {
	case err == nil && st.Alive():
	case err == nil, fault.KindOf(err) == fault.NotFound:
		anew = before != ""
		if err := s.pool.makeFolder(s.folder); err != nil {
			return false, err
		}
	default:
		return false, err
	}
	got, err := s.bind(ctx, kernelID)
	if err != nil {
		return false, err
	}
	if got.ID == before {
		return anew, nil
	}
	s.mu.Lock()
	s.jupyterID = got.ID
	s.mu.Unlock()
	return anew, s.pool.of.table.putSession(ctx, s.row())
}

// bind creates the session of the Executor. One with another kernel than ours, which somebody gave it by Jupyter's API,
// is deleted first: that kernel is not confined.
func (s *session) bind(ctx context.Context, kernelID string) (sessions.Session, error) {
	o := s.pool.startOptions(s.folder)
	req := sessions.CreateRequest{
		Path: "code-interpreter/" + s.pool.Name + "/" + url.PathEscape(s.identifier), Name: s.identifier, Type: "console",
		KernelID: kernelID, KernelName: s.pool.Kernel, Start: &o,
	}
	got, err := s.pool.of.exec.Create(ctx, req)
	if err != nil || got.Kernel.ID == kernelID {
		return got, err
	}
	s.pool.of.cfg.Logger.Warn("a code interpreter session had got another kernel, which is ended", "session_id", got.ID, "kernel_id", got.Kernel.ID)
	if err := s.pool.of.exec.Delete(ctx, got.ID); err != nil && !isGone(err) {
		return got, err
	}
	if got, err = s.pool.of.exec.Create(ctx, req); err == nil && got.Kernel.ID != kernelID {
		err = fault.New(fault.Conflict, "the session's kernel is being replaced")
	}
	return got, err
}

func isGone(err error) bool {
	k := fault.KindOf(err)
	return k == fault.NotFound || k == fault.Gone
}

// expire ends the session when nobody has used it for too long.
func (s *session) expire(ctx context.Context) error {
	if _, expires, busy := s.times(); busy || time.Until(expires) > 0 {
		return nil
	}
	s.mu.Lock()
	if s.ending || s.running || time.Since(s.used) < s.pool.CoolDown { // it was used since
		s.mu.Unlock()
		return nil
	}
	s.ending = true
	s.mu.Unlock()
	return s.finish(context.WithoutCancel(ctx))
}

// end ends the session: kernel, executions, files and all that is kept of it. It returns when they are gone.
func (s *session) end(ctx context.Context) error {
	s.mu.Lock()
	already := s.ending
	s.ending = true
	s.mu.Unlock()
	if !already {
		return s.finish(context.WithoutCancel(ctx))
	}
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish ends a session that is marked as ending.
func (s *session) finish(ctx context.Context) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.release()
	s.dismiss()
	if err := s.endKernel(ctx); err != nil {
		s.mu.Lock()
		s.ending = false
		s.mu.Unlock()
		return err
	}
	s.dropLine(0)
	_ = s.files.Close() // nothing was written through it
	if err := s.folder.remove(); err != nil {
		s.pool.of.cfg.Logger.Warn("cannot remove all of a session's folder", "session_id", s.id, "err", err)
	}
	err := s.pool.of.table.dropSession(ctx, s.id)
	s.pool.forget(s)
	close(s.gone)
	s.pool.of.cfg.Logger.Info("code interpreter session ended", "pool", s.pool.Name, "session_id", s.id)
	return err
}

// endKernel ends the Executor's session and, where it has none, the kernel.
func (s *session) endKernel(ctx context.Context) error {
	s.mu.Lock()
	kernelID, jupyterID := s.kernelID, s.jupyterID
	s.mu.Unlock()
	if jupyterID != "" {
		if err := s.pool.of.exec.Delete(ctx, jupyterID); err != nil && !isGone(err) {
			return err
		}
	}
	if err := s.pool.of.host.Shutdown(ctx, kernelID); err != nil && !isGone(err) {
		return err
	}
	return nil
}

// dismiss cancels all executions.
func (s *session) dismiss() {
	s.mu.Lock()
	waiting := s.queue
	s.queue = nil
	working := s.working
	s.mu.Unlock()
	for _, e := range waiting {
		e.finish(&outcome{State: canceled, Error: &apiError{codeCanceled, "the session was deleted"}})
	}
	if working != nil {
		working.cancel()
	}
}

// remember keeps an execution that has ended, within bounds: of those beyond them what is in the database stays there.
func (s *session) remember(e *execution, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.executions[e.id] != e {
		return
	}
	e.size = size
	s.ended = append(s.ended, e)
	total := 0
	for _, old := range s.ended {
		total += old.size
	}
	for i, old := range s.ended {
		if total <= maxRemembered && len(s.ended)-i <= maxRememberedCount {
			s.ended = slices.Delete(s.ended, 0, i)
			return
		}
		total -= old.size
		if old.kept {
			s.executions[old.id] = old.stub()
		} else {
			delete(s.executions, old.id)
		}
	}
	s.ended = nil
}

const (
	// maxRemembered bounds the outcomes of a session in memory, in bytes, and maxRememberedCount their number.
	maxRemembered      = 4 << 20
	maxRememberedCount = 32
	// maxKept bounds the executions of a session that the database keeps.
	maxKept = 10_000
)

// forgetOld forgets what has ended before keep.
func (s *session) forgetOld(ctx context.Context, keep time.Duration) {
	var drop []string
	s.mu.Lock()
	for id, e := range s.executions {
		if at, ok := e.endedAt(); ok && time.Since(at) > keep {
			delete(s.executions, id)
			s.ended = slices.DeleteFunc(s.ended, func(old *execution) bool { return old == e })
			if e.kept {
				drop = append(drop, id)
			}
		}
	}
	s.mu.Unlock()
	for _, id := range drop {
		if err := s.pool.of.table.dropExecution(ctx, s.id, id); err != nil {
			s.pool.of.cfg.Logger.Warn("cannot forget an execution", "session_id", s.id, "err", err)
		}
	}
}
