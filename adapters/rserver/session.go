package rserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// session is a kernel of one person's own. Its executions, and what else the kernel does for it, take turns.
type session struct {
	// immutable
	srv     *Server
	row     sessionRow // but for gone
	worker  *worker
	turn    chan struct{} // holds one token; whoever has it may use the kernel
	console console

	mu        sync.Mutex
	gone      string // why the kernel ended; guarded by mu
	deleted   bool   // guarded by mu
	executing bool   // guarded by mu
}

func newSession(srv *Server, row sessionRow, r *runtime) *session {
	s := &session{srv: srv, row: row, turn: make(chan struct{}, 1), gone: row.gone,
		worker: &worker{host: srv.host, kernelID: row.kernelID, runtime: r, dir: srv.kernelDir(row.folder)}}
	s.turn <- struct{}{}
	return s
}

// acquire waits for the session's turn. A session that has no kernel any more is Gone.
func (s *session) acquire(ctx context.Context) error {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return fault.Wrap(fault.Canceled, context.Cause(ctx), "the session is at work")
	}
	if err := s.alive(ctx); err != nil {
		s.release()
		return err
	}
	return nil
}

func (s *session) release() { s.turn <- struct{}{} }

// alive says Gone when the kernel has ended, and remembers it.
func (s *session) alive(ctx context.Context) error {
	s.mu.Lock()
	gone, deleted := s.gone, s.deleted
	s.mu.Unlock()
	if deleted {
		return sessionNotFound
	}
	if gone == "" {
		st, err := s.srv.host.Get(s.row.kernelID)
		switch {
		case fault.KindOf(err) == fault.NotFound:
			gone = "its kernel has ended"
		case err != nil:
			return err // nobody knows
		case !st.Alive():
			gone = st.Reason
		default:
			return nil
		}
		s.lose(ctx, gone)
	}
	return fault.New(fault.Gone, "the session has ended: %s", gone)
}

// lose remembers that the kernel is no more, or is not the session's any more, and ends what there is of it.
func (s *session) lose(ctx context.Context, why string) {
	if why == "" {
		why = "its kernel has ended"
	}
	s.mu.Lock()
	first := s.gone == ""
	s.gone = why
	s.mu.Unlock()
	if !first {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.srv.rows.endSession(ctx, s.row.id, why); err != nil {
		s.srv.log.Warn("the end of a session was not kept", "session_id", s.row.id, "err", err)
	}
	if err := s.srv.host.Shutdown(ctx, s.row.kernelID); err != nil && fault.KindOf(err) != fault.NotFound {
		s.srv.log.Warn("the kernel of a session was not ended", "kernel_id", s.row.kernelID, "err", err)
	}
	s.srv.log.Info("session ended", "session_id", s.row.id, "reason", why)
}

// ask has the kernel do something besides running code.
func (s *session) ask(ctx context.Context, req request) (reply, error) {
	if err := s.acquire(ctx); err != nil {
		return reply{}, err
	}
	defer s.release()
	return s.askNow(ctx, req)
}

// askNow is ask for whoever has the turn.
func (s *session) askNow(ctx context.Context, req request) (reply, error) {
	r, err := s.worker.call(ctx, req)
	return r, s.settle(ctx, err)
}

// settle makes of a worker's error one for the client.
func (s *session) settle(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errKernel):
		s.lose(ctx, s.reason(ctx))
		return s.alive(ctx)
	case errors.Is(err, errInterrupted):
		return failed("the operation was cancelled")
	}
	return err
}

// execution is what an executeRequest asks for, checked.
type execution struct {
	code    string
	inputs  []given
	outputs []param
}

// execute runs code. The caller has the turn. An error in the code is in the answer, as is the death of the kernel.
func (s *session) execute(ctx context.Context, x execution) (executeResponse, error) {
	s.setExecuting(true)
	defer s.setExecuting(false)
	s.console.clear()
	answer := executeResponse{OutputParameters: []named{}}
	before, err := list(s.worker.workDir())
	if err != nil {
		return answer, err
	}
	req := request{Op: "execute", Code: x.code, Inputs: x.inputs, Outputs: x.outputs}
	r, err := s.runWatched(ctx, req)
	switch {
	case errors.Is(err, errInterrupted):
		answer.ErrorMessage = "the execution was cancelled"
	case errors.Is(err, errKernel):
		answer.ErrorMessage = s.row.runtime + " ended during the execution, and the session with it: " + s.reason(ctx)
		s.lose(ctx, s.reason(ctx))
	case err != nil:
		return answer, err
	default:
		answer.Success, answer.ErrorMessage = r.Success, r.Error
		if r.Outputs != nil {
			answer.OutputParameters = r.Outputs
		}
	}
	history := r.History
	if history == nil {
		history = []string{x.code}
	}
	if err := s.srv.rows.addHistory(ctx, s.row.id, history); err != nil {
		s.srv.log.Warn("history not kept", "session_id", s.row.id, "err", err)
	}
	now, err := list(s.worker.workDir())
	if err != nil {
		return answer, err
	}
	answer.ChangedFiles = before.changed(now)
	answer.ConsoleOutput = s.console.String()
	return answer, nil
}

// runWatched runs code whose output goes to the console while it runs.
func (s *session) runWatched(ctx context.Context, req request) (r reply, err error) {
	if s.worker.runtime.fifo {
		p, err := newPipe(s.worker.ioPath("console-"+uuid.NewString()), &s.console)
		if err != nil {
			return r, err
		}
		req.FIFO, req.Mark = p.path, string(p.mark)
		wait := deadPipeWait
		defer func() { p.close(wait) }()
		r, err = s.worker.interact(ctx, req, s.see)
		if err == nil {
			wait = pipeWait
		}
		return r, err
	}
	return s.worker.interact(ctx, req, s.see)
}

// reason is what the Host knows about a kernel's end.
func (s *session) reason(ctx context.Context) string {
	if st, err := s.srv.host.Get(s.row.kernelID); err == nil && st.Reason != "" {
		return st.Reason
	}
	if ctx.Err() != nil {
		return "the server is stopping"
	}
	return "its process died"
}

func (s *session) setExecuting(now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.executing = now
}

// see takes what the kernel itself says during an execution.
func (s *session) see(e kernel.Entry) {
	if e.Gap != nil {
		s.console.add(fmt.Sprintf("\n… %d messages left out …\n", e.Gap.Dropped))
	}
	if e.Message == nil {
		return
	}
	var m struct {
		Text      string                     `json:"text"`
		Data      map[string]json.RawMessage `json:"data"`
		Traceback []string                   `json:"traceback"`
	}
	_ = json.Unmarshal(e.Message.Parts[kernel.PartContent], &m) // a malformed field is as if it was not there
	switch e.Message.Header.MsgType {
	case "stream":
		s.console.add(m.Text)
	case "error":
		for _, line := range m.Traceback {
			s.console.add(adapters.PlainText(line) + "\n")
		}
	case "display_data", "execute_result":
		s.show(m.Data)
	}
}

// show makes a file of a picture, and text of everything else.
func (s *session) show(data map[string]json.RawMessage) {
	for kind, suffix := range map[string]string{"image/png": ".png", "image/jpeg": ".jpeg"} {
		var encoded string
		if json.Unmarshal(data[kind], &encoded) != nil {
			continue
		}
		if picture, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			if err := s.keepPlot(picture, suffix); err != nil {
				s.console.add("a plot could not be kept: " + fault.Message(err) + "\n")
			}
			return
		}
	}
	var plain string
	if json.Unmarshal(data["text/plain"], &plain) == nil && plain != "" {
		s.console.add(plain + "\n")
	}
}

// maxPlots bounds the plots in a working folder.
const maxPlots = 999

// keepPlot writes a picture to the first of plot001, plot002, … that is free.
func (s *session) keepPlot(picture []byte, suffix string) error {
	root, err := os.OpenRoot(s.worker.workDir())
	if err != nil {
		return fault.OS(err, "the working folder")
	}
	defer func() { _ = root.Close() }()
	for i := 1; i <= maxPlots; i++ {
		f, err := root.OpenFile(fmt.Sprintf("plot%03d%s", i, suffix), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return fault.OS(err, "the plot")
		}
		_, err = f.Write(picture)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return fault.OS(err, "the plot")
	}
	return fault.New(fault.TooLarge, "there are %d already", maxPlots)
}

// cancel interrupts the execution under way; without one it does nothing.
func (s *session) cancel(ctx context.Context) error {
	s.mu.Lock()
	executing := s.executing
	s.mu.Unlock()
	if !executing {
		return nil
	}
	err := s.srv.host.Interrupt(ctx, s.row.kernelID)
	if kind := fault.KindOf(err); err != nil && (kind == fault.NotFound || kind == fault.Conflict || kind == fault.Gone) {
		return nil // it has ended
	}
	return err
}

// putObject makes an object of what serialize() or pickle wrote.
func (s *session) putObject(ctx context.Context, name string, body io.Reader) error {
	path := s.worker.ioPath(uuid.NewString())
	defer func() { _ = os.Remove(path) }()
	if err := writeNew(path, body); err != nil {
		return err
	}
	r, err := s.ask(ctx, request{Op: "put", Name: name, Path: path})
	if err == nil && !r.Success {
		err = fault.New(fault.Invalid, "the body is no object that %s has serialized: %.300s", s.row.runtime, r.Error)
	}
	return err
}

// object gives an open file with an object as serialize() or pickle writes it. The caller closes it; it has no name.
func (s *session) object(ctx context.Context, name string) (*os.File, error) {
	path := s.worker.ioPath(uuid.NewString())
	defer func() { _ = os.Remove(path) }()
	r, err := s.ask(ctx, request{Op: "get", Name: name, Path: path})
	switch {
	case err != nil:
		return nil, err
	case r.Missing:
		return nil, noObject(name)
	case !r.Success:
		return nil, failed("object %.100q cannot be serialized: %.300s", name, r.Error)
	}
	f, err := os.Open(path)
	return f, fault.OS(err, "the object")
}

func (s *session) dropObject(ctx context.Context, name string) error {
	r, err := s.ask(ctx, request{Op: "delete", Name: name})
	switch {
	case err != nil:
		return err
	case r.Missing:
		return noObject(name)
	case !r.Success:
		return failed("object %.100q cannot be deleted: %.300s", name, r.Error)
	}
	return nil
}

func (s *session) objects(ctx context.Context) ([]string, error) {
	r, err := s.ask(ctx, request{Op: "names"})
	if err == nil && !r.Success {
		err = failed("the workspace cannot be listed: %.300s", r.Error)
	}
	if r.Names == nil {
		r.Names = []string{}
	}
	return r.Names, err
}

func noObject(name string) error {
	return fault.New(fault.NotFound, "the session has no object %.100q", name)
}

var sessionNotFound = fault.New(fault.NotFound, "the session does not exist")
