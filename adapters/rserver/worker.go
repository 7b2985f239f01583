package rserver

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// worker is a kernel that knows the helper, and its folder. One call at a time.
type worker struct {
	// immutable
	host     kernel.Host
	kernelID string
	runtime  *runtime
	dir      string // absolute: the user's files are in work, the calls' in io

	line *line // of a worker that serves many calls; nil for others
}

// line is a client that stays attached between a worker's calls.
type line struct {
	kernel.Client
	session string
}

// hold attaches a client for all calls to come: attaching for each would take as long as a short one itself. end lets go.
func (w *worker) hold() error {
	session := uuid.NewString()
	c, err := w.host.Attach(w.kernelID, kernel.AttachOptions{ClientSession: session, Transient: true})
	if err == nil {
		w.line = &line{c, session}
	}
	return err
}

func (w *worker) workDir() string           { return filepath.Join(w.dir, "work") }
func (w *worker) ioPath(name string) string { return filepath.Join(w.dir, "io", name) }

// makeFolders makes the folder of a new kernel, for its owner alone.
func makeFolders(dir string) error {
	for _, sub := range []string{"work", "io"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return fault.OS(err, "the folder of a session")
		}
	}
	return nil
}

// request is what the helper is asked. Its fields are those of helpers/.
type request struct {
	Op       string   `json:"op"`
	Code     string   `json:"code"`
	Inputs   []given  `json:"inputs"`
	Outputs  []param  `json:"outputs"`
	Console  string   `json:"console"` // where a service's code prints to
	FIFO     string   `json:"fifo"`    // where a session's does, in R; it ends with Mark
	Mark     string   `json:"mark"`
	Name     string   `json:"name"`
	Path     string   `json:"path"`
	Packages []string `json:"packages"`
	Reset    bool     `json:"reset"` // leave the kernel as it was at its baseline
}

// given is the value of an input parameter.
type given struct {
	Name  string          `json:"name"`
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value,omitempty"`
	JSON  string          `json:"json,omitempty"`  // the value as text, for what R's parser would make a vector of
	Elem  string          `json:"elem,omitempty"`  // the type of a vector's or matrix's elements
	Elems []string        `json:"elems,omitempty"` // the types of a data frame's columns
}

// param is an output parameter that is asked for.
type param struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// named is the value of an output parameter.
type named struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// reply is what the helper answers.
type reply struct {
	Success  bool     `json:"success"`
	Error    string   `json:"error"`
	Missing  bool     `json:"missing"`  // there is no object of that name
	Reusable bool     `json:"reusable"` // the kernel can be left as it was at its baseline
	Clean    bool     `json:"clean"`    // and was
	Names    []string `json:"names"`
	Outputs  []named  `json:"outputs"`
	History  []string `json:"history"`
}

// errKernel says that a kernel is no more, or is not the one that was given the helper: what it held is lost.
var errKernel = errors.New("the kernel has ended")

// errNotBegun says, beside errKernel, that the kernel had not even read the request: nothing of it was done.
var errNotBegun = errors.New("nothing was done")

// errInterrupted says that an interrupt came before the helper could answer.
var errInterrupted = errors.New("interrupted")

// inject gives a kernel the helper.
func (w *worker) inject(ctx context.Context) error {
	for e, err := range w.host.Execute(ctx, w.kernelID, kernel.ExecuteRequest{Code: w.runtime.helper, Silent: true}) {
		if err != nil {
			return err
		}
		if status := replyStatus(e); status != "" && status != "ok" {
			return fault.New(fault.Unstartable, "the kernel for %s does not take its helper: is it the right one, and has it jsonlite (R) or IPython?", w.runtime.name)
		}
	}
	return nil
}

// call lets the kernel do one thing. A reply that says no is no error; one that does not come is: errKernel,
// errInterrupted, or the Host's. When ctx ends, the kernel goes on.
func (w *worker) call(ctx context.Context, req request) (reply, error) {
	return w.exchange(ctx, req, func(n string) error {
		for e, err := range w.execute(ctx, w.runtime.call(n), true) {
			if err != nil {
				return err
			}
			if replyStatus(e) != "" { // its idle status brings nothing more
				return nil
			}
		}
		return nil
	})
}

// interact is call for an execution that others watch: see gets each entry.
func (w *worker) interact(ctx context.Context, req request, see func(kernel.Entry)) (reply, error) {
	return w.exchange(ctx, req, func(n string) error {
		for e, err := range w.execute(ctx, w.runtime.interact(n, req.Code), false) {
			if err != nil {
				return err
			}
			see(e)
		}
		return nil
	})
}

func (w *worker) execute(ctx context.Context, code string, silent bool) iter.Seq2[kernel.Entry, error] {
	req := kernel.ExecuteRequest{Code: code, Silent: silent}
	if w.line == nil {
		return w.host.Execute(ctx, w.kernelID, req)
	}
	req.ClientSession = w.line.session
	return kernel.ExecuteOn(ctx, w.line, req)
}

// exchange writes a request, runs it and reads the answer. Both are files, so that neither their size nor what is in them
// matters to the kernel's messages.
func (w *worker) exchange(ctx context.Context, req request, run func(n string) error) (r reply, err error) {
	n := uuid.NewString()
	path := w.ioPath(n)
	text, err := json.Marshal(req)
	if err != nil {
		return r, fault.Wrap(fault.Internal, err, "write a request to a kernel")
	}
	defer func() {
		_ = os.Remove(path)
		_ = os.Remove(path + ".out") // it may not be there
	}()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return r, fault.OS(err, "the request")
	}
	if err := run(n); err != nil {
		return r, notBegun(path, lost(err))
	}
	text, err = os.ReadFile(path + ".out")
	if errors.Is(err, fs.ErrNotExist) {
		return r, notBegun(path, w.why(ctx))
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fault.Wrap(fault.Internal, err, "read a kernel's answer")
	}
	return r, nil
}

// notBegun adds errNotBegun to the loss of a kernel when the request is still there: the helper removes what it has read.
func notBegun(path string, err error) error {
	if _, there := os.Stat(path); there == nil && errors.Is(err, errKernel) {
		return errors.Join(err, errNotBegun)
	}
	return err
}

// whyTries is how often a kernel is asked whether it knows the helper: another interrupt may hit the question.
const whyTries = 3

// why finds out about an answer that did not come: a kernel that still knows the helper was interrupted.
func (w *worker) why(ctx context.Context) error {
	for range whyTries {
		knows, err := w.knowsHelper(ctx)
		if err != nil {
			return lost(err)
		}
		if knows {
			return errInterrupted
		}
	}
	return errKernel
}

func (w *worker) knowsHelper(ctx context.Context) (bool, error) {
	check := w.ioPath(uuid.NewString())
	defer func() { _ = os.Remove(check + ".out") }()
	defer func() { _ = os.Remove(check) }() // it may have been read
	if err := os.WriteFile(check, []byte(`{"op":"names"}`), 0o600); err != nil {
		return false, fault.OS(err, "the request")
	}
	for _, err := range w.execute(ctx, w.runtime.call(filepath.Base(check)), true) {
		if err != nil {
			return false, err
		}
	}
	_, err := os.Stat(check + ".out")
	return err == nil, nil
}

// lost adds errKernel to the Host's word that there is no such kernel any more.
func lost(err error) error {
	if kind := fault.KindOf(err); kind == fault.Gone || kind == fault.NotFound {
		return errors.Join(errKernel, err)
	}
	return err
}

// end shuts the kernel down and removes its folder.
func (w *worker) end(ctx context.Context) error {
	if w.line != nil {
		w.line.Detach()
	}
	err := w.host.Shutdown(ctx, w.kernelID)
	if fault.KindOf(err) == fault.NotFound {
		err = nil
	}
	if err == nil {
		err = fault.OS(os.RemoveAll(w.dir), "the folder of a session")
	}
	return err
}

// replyStatus is the status of an execute_reply: "ok", "error", "aborted"; "" for any other entry.
func replyStatus(e kernel.Entry) string {
	if e.Message == nil || e.Message.Header.MsgType != "execute_reply" {
		return ""
	}
	var content struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(e.Message.Parts[kernel.PartContent], &content) != nil || content.Status == "" {
		return "error"
	}
	return content.Status
}
