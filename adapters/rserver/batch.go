package rserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	maxBatchItems    = 100_000
	maxBatchesOfOne  = 1000
	defaultParallel  = 10
	maxParallel      = 256
	batchInputFile   = "input.json"
	batchRetryPause  = time.Second // when all kernels are at work
	batchResultWidth = 6           // digits of an item's number, so that names sort
)

// batch is many calls of one service that go on without a client. Its input and the results so far are files, so that it
// goes on after a restart; an item that was cut off is begun again.
type batch struct {
	row batchRow // immutable
	dir string   // immutable

	mu      sync.Mutex
	cancel  context.CancelFunc // of what runs; nil before; guarded by mu
	dropped bool               // guarded by mu
	done    map[int]bool       // items with results; guarded by mu
}

func newBatch(row batchRow, dir string) *batch {
	return &batch{row: row, dir: dir, done: map[int]bool{}}
}

// begin says how to cancel what runs from now on; false when the batch was dropped before.
func (b *batch) begin(cancel context.CancelFunc) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cancel = cancel
	return !b.dropped
}

func (b *batch) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped = true
	if b.cancel != nil {
		b.cancel()
	}
}

func (b *batch) resultPath(i int) string {
	name := strconv.Itoa(i)
	for len(name) < batchResultWidth {
		name = "0" + name
	}
	return filepath.Join(b.dir, name+".json")
}

func (b *batch) fileDir(i int) string { return filepath.Join(b.dir, "files", strconv.Itoa(i)) }

func (s *Server) loadBatches(ctx context.Context) error {
	all, err := s.rows.batches(ctx)
	if err != nil {
		return err
	}
	for _, row := range all {
		b := newBatch(row, s.batchDir(row.id))
		for i := range row.total {
			if _, err := os.Stat(b.resultPath(i)); err == nil {
				b.done[i] = true
			}
		}
		s.batches[row.id] = b
	}
	return nil
}

// resumeBatches goes on with what an earlier server has not finished.
func (s *Server) resumeBatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		if b.left() > 0 {
			s.tasks.start(func(ctx context.Context) { s.runBatch(ctx, b) })
		}
	}
}

// startBatch begins a batch, which is durable when its id is given.
func (s *Server) startBatch(ctx context.Context, owner string, key serviceKey, items []arguments, parallel int) (string, error) {
	x, err := s.service(key)
	if err != nil {
		return "", err
	}
	if len(items) == 0 || len(items) > maxBatchItems {
		return "", fault.New(fault.Invalid, "the body should be an array of 1 to %d objects of input parameters", maxBatchItems)
	}
	for i, item := range items {
		if _, err := x.inputs(item); err != nil {
			return "", fault.Wrap(fault.KindOf(err), err, "item %d: %s", i, fault.Message(err))
		}
	}
	if parallel == 0 {
		parallel = defaultParallel
	}
	row := batchRow{id: uuid.NewString(), owner: owner, name: key.name, version: key.version, total: len(items),
		parallel: min(parallel, maxParallel), created: time.Now().UTC().Truncate(time.Microsecond)}
	if len(s.listBatches(owner, serviceKey{})) >= maxBatchesOfOne {
		return "", fault.New(fault.Conflict, "you have %d batches, the most one can have: delete some", maxBatchesOfOne)
	}
	b := newBatch(row, s.batchDir(row.id))
	if err := b.keepInput(items); err != nil {
		return "", errors.Join(err, os.RemoveAll(b.dir))
	}
	if err := s.rows.addBatch(context.WithoutCancel(ctx), row); err != nil {
		return "", errors.Join(err, os.RemoveAll(b.dir))
	}
	s.mu.Lock()
	s.batches[row.id] = b
	s.mu.Unlock()
	s.tasks.start(func(ctx context.Context) { s.runBatch(ctx, b) }) // else the next server does it
	return row.id, nil
}

func (b *batch) keepInput(items []arguments) error {
	text, err := json.Marshal(items)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "write a batch")
	}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return fault.OS(err, "the batch")
	}
	return writeDurable(filepath.Join(b.dir, batchInputFile), text)
}

// writeDurable writes a file whole or not at all; it survives a power cut.
func writeDurable(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".batch-*")
	if err != nil {
		return fault.OS(err, "the batch")
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(text); err != nil {
		return fault.OS(err, "the batch")
	}
	if err := f.Sync(); err != nil {
		return fault.OS(err, "the batch")
	}
	return install(f, path)
}

// left is how many items have no result.
func (b *batch) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.row.total - len(b.done)
}

func (b *batch) has(i int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done[i]
}

// runBatch makes the calls that have no result yet, so many at a time, until the batch is cancelled or ctx ends.
func (s *Server) runBatch(ctx context.Context, b *batch) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !b.begin(cancel) {
		return
	}
	text, err := os.ReadFile(filepath.Join(b.dir, batchInputFile))
	var items []arguments
	if err == nil {
		err = json.Unmarshal(text, &items)
	}
	if err != nil || len(items) != b.row.total {
		if ctx.Err() == nil {
			s.log.Error("a batch cannot be read", "batch_id", b.row.id, "err", err)
		}
		return
	}
	var group errgroup.Group
	group.SetLimit(b.row.parallel)
	for i := range items {
		if ctx.Err() != nil {
			break
		}
		if !b.has(i) {
			group.Go(func() error { return s.runItem(ctx, b, i, items[i]) })
		}
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		s.log.Error("a batch has stopped", "batch_id", b.row.id, "err", err)
	}
}

// runItem makes one call, again when there was no kernel for it, and keeps what came of it.
func (s *Server) runItem(ctx context.Context, b *batch, i int, args arguments) error {
	key := serviceKey{b.row.name, b.row.version}
	result, err := s.consume(ctx, key, args)
	for fault.KindOf(err) == fault.Busy {
		timer := time.NewTimer(batchRetryPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		result, err = s.consume(ctx, key, args)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // for this item alone, as in a call by a client
		result = webServiceResult{ErrorMessage: fault.Message(err), OutputParameters: values{}, ChangedFiles: []string{}}
	}
	if err := b.keepFiles(i, result.OutputFiles); err != nil {
		return err
	}
	result.OutputFiles = map[string][]byte{} // they have an address of their own
	text, err := json.Marshal(result)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "write a result")
	}
	if err := writeDurable(b.resultPath(i), text); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done[i] = true
	return nil
}

func (b *batch) keepFiles(i int, files map[string][]byte) error {
	if err := os.RemoveAll(b.fileDir(i)); err != nil { // of a try that was cut off
		return fault.OS(err, "an output file")
	}
	for name, data := range files {
		path := filepath.Join(b.fileDir(i), filepath.FromSlash(name)) // checked when the service was published
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fault.OS(err, "an output file")
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return fault.OS(err, "an output file")
		}
	}
	return nil
}

// batch finds a batch of owner's. Another's does not exist for them (S13).
func (s *Server) batch(owner string, key serviceKey, id string) (*batch, error) {
	if _, err := s.service(key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.batches[id]
	if b == nil || b.row.owner != owner || b.row.name != key.name || b.row.version != key.version {
		return nil, fault.New(fault.NotFound, "the batch execution does not exist")
	}
	return b, nil
}

// listBatches gives the ids of owner's batches of a service, or of all with the zero key; oldest first.
func (s *Server) listBatches(owner string, key serviceKey) []string {
	s.mu.Lock()
	var mine []*batch
	for _, b := range s.batches {
		if b.row.owner == owner && (key == serviceKey{} || key == serviceKey{b.row.name, b.row.version}) {
			mine = append(mine, b)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(mine, func(a, b *batch) int {
		return cmp.Or(a.row.created.Compare(b.row.created), cmp.Compare(a.row.id, b.row.id))
	})
	ids := make([]string, len(mine))
	for i, b := range mine {
		ids[i] = b.row.id
	}
	return ids
}

// result is how far a batch is, with the results there are when partial is set or it is complete.
func (b *batch) result(partial bool) (batchResult, error) {
	b.mu.Lock()
	done := make([]int, 0, len(b.done))
	for i := range b.done {
		done = append(done, i)
	}
	r := batchResult{State: batchPending, CompletedItemCount: len(done), TotalItemCount: b.row.total, ParallelCount: b.row.parallel,
		BatchExecutionResults: []json.RawMessage{}}
	switch {
	case len(done) == b.row.total:
		r.State = batchComplete
	case b.cancel != nil:
		r.State = batchInProgress
	}
	b.mu.Unlock()
	if r.State != batchComplete && !partial {
		return r, nil
	}
	slices.Sort(done)
	for _, i := range done {
		text, err := os.ReadFile(b.resultPath(i))
		if err != nil {
			return r, b.gone(err)
		}
		r.BatchExecutionResults = append(r.BatchExecutionResults, text)
	}
	return r, nil
}

// gone is a file that was deleted with its batch just now.
func (b *batch) gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(fault.NotFound, err, "the batch execution does not exist")
	}
	return fault.OS(err, "the batch")
}

// item finds an item that has a result.
func (b *batch) item(text string) (int, error) {
	i, err := strconv.Atoi(text)
	if err != nil || i < 0 || i >= b.row.total {
		return 0, fault.New(fault.NotFound, "the batch execution has no item %.20q: there are %d, from 0 on", text, b.row.total)
	}
	return i, nil
}

// files lists the output files of an item; those of one that is not done are none yet.
func (b *batch) files(i int) ([]string, error) {
	if _, err := os.Stat(b.fileDir(i)); err != nil {
		return []string{}, nil
	}
	all, err := list(b.fileDir(i))
	if err != nil {
		return nil, err
	}
	return all.names(), nil
}

// deleteBatch cancels a batch and removes what it has.
func (s *Server) deleteBatch(ctx context.Context, owner string, key serviceKey, id string) error {
	b, err := s.batch(owner, key, id)
	if err != nil {
		return err
	}
	if err := s.rows.dropBatch(context.WithoutCancel(ctx), id); err != nil {
		return err
	}
	s.dropBatch(b)
	return nil
}

func (s *Server) dropBatch(b *batch) {
	b.drop()
	s.mu.Lock()
	delete(s.batches, b.row.id)
	s.mu.Unlock()
	if err := os.RemoveAll(b.dir); err != nil {
		s.log.Warn("a batch was not removed", "batch_id", b.row.id, "err", err)
	}
}

// forgetBatches drops the batches of a service that was deleted, whose rows went with it.
func (s *Server) forgetBatches(key serviceKey) {
	s.mu.Lock()
	var all []*batch
	for _, b := range s.batches {
		if key == (serviceKey{b.row.name, b.row.version}) {
			all = append(all, b)
		}
	}
	s.mu.Unlock()
	for _, b := range all {
		s.dropBatch(b)
	}
}
