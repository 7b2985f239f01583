package rserver

import (
	"context"
	"os"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// newWorker starts a kernel with the service's snapshot and initCode.
func (x *service) newWorker(ctx context.Context) (*pooled, error) {
	where, err := x.srv.placeOf(x.row.owner, x.runtime)
	if err != nil {
		return nil, err
	}
	w, err := x.srv.startWorker(ctx, where)
	if err != nil {
		return nil, err
	}
	p := &pooled{worker: w}
	if err = w.hold(); err == nil {
		err = x.prepare(ctx, p)
	}
	if err != nil {
		x.srv.discard(ctx, w)
		return nil, err
	}
	return p, nil
}

func (x *service) prepare(ctx context.Context, w *pooled) (err error) {
	if x.row.file != "" {
		if err := x.srv.loadSnapshot(ctx, w.worker, x.srv.servicePath(x.row.file), x.row.packages); err != nil {
			return err
		}
	}
	if w.snapshot, err = list(w.workDir()); err != nil {
		return err
	}
	if x.row.body.InitCode != "" {
		r, err := w.call(ctx, request{Op: "execute", Code: x.row.body.InitCode, Console: w.ioPath("console")})
		if err != nil {
			return err
		}
		if !r.Success {
			return failed("the service's initCode failed: %.1000s", r.Error)
		}
	}
	r, err := w.call(ctx, request{Op: "baseline"})
	if err != nil {
		return err
	}
	if !r.Success {
		return failed("the service's kernel cannot be prepared: %.1000s", r.Error)
	}
	w.reusable = r.Reusable
	w.files, err = list(w.workDir())
	return err
}

// clean gives a worker's working folder the files back that it had. Those of the snapshot can be had again; where one that
// initCode has made was touched, the worker is of no use.
func (x *service) clean(ctx context.Context, w *pooled) error {
	now, err := list(w.workDir())
	if err != nil {
		return err
	}
	unpackAgain := false
	for name, m := range w.files {
		if now.has(name, m) {
			continue
		}
		if !w.snapshot.has(name, m) {
			return fault.New(fault.Conflict, "a file that initCode has made was changed")
		}
		unpackAgain = true
	}
	if err := removeExtra(w.workDir(), w.files, now); err != nil {
		return err
	}
	if unpackAgain {
		for name, m := range w.snapshot {
			if !w.files.has(name, m) { // unpacking would undo what initCode did
				return fault.New(fault.Conflict, "a file that initCode has changed was changed")
			}
		}
		workspace := w.ioPath(uuid.NewString())
		defer func() { _ = os.Remove(workspace) }()
		if err := unpack(ctx, x.srv.servicePath(x.row.file), w.workDir(), workspace, x.runtime.workspace, x.srv.limits()); err != nil {
			return err
		}
		if now, err = list(w.workDir()); err != nil {
			return err
		}
		snapshot := listing{}
		for name := range w.snapshot {
			snapshot[name] = now[name]
		}
		w.files, w.snapshot = now, snapshot
	}
	w.dirty = false
	return nil
}
