package rserver

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path"
	"strings"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// session is the session that a path names.
func (a *API) session(r *http.Request) (*session, error) {
	return a.Server.session(owner(r), mux.Vars(r)["id"])
}

func (a *API) createSession(w http.ResponseWriter, r *http.Request) error {
	var req *createSessionRequest
	if err := httpx.ReadJSON(w, r, maxLogin, &req); err != nil {
		return err
	}
	if req == nil {
		return fault.New(fault.Invalid, "the body should be a JSON object; it may be empty")
	}
	id, err := a.Server.createSession(r.Context(), owner(r), *req)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusCreated, createSessionResponse{id})
}

func (a *API) listSessions(w http.ResponseWriter, r *http.Request) error {
	return answer(w, a.Server.listSessions(owner(r)))
}

func (a *API) closeSession(w http.ResponseWriter, r *http.Request) error { return a.end(w, r, false) }
func (a *API) forceSession(w http.ResponseWriter, r *http.Request) error { return a.end(w, r, true) }

func (a *API) end(w http.ResponseWriter, r *http.Request, force bool) error {
	id := mux.Vars(r)["id"]
	if err := a.Server.closeSession(r.Context(), owner(r), id, force); err != nil {
		return err
	}
	return answer(w, id)
}

func (a *API) consoleOutput(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	return answer(w, consoleOutputResponse{x.console.String()})
}

func (a *API) history(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	all, err := a.Server.rows.history(r.Context(), x.row.id)
	if err != nil {
		return err
	}
	return answer(w, all)
}

func (a *API) cancelSession(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	if err := x.cancel(r.Context()); err != nil {
		return err
	}
	return answer(w, x.row.id)
}

// body is a request's body as bytes of a file: what breaks it off is the client's fault, not the server's.
type body struct {
	r     io.Reader
	limit int64
}

func (b body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	var over *http.MaxBytesError
	switch {
	case err == nil, err == io.EOF, fault.KindOf(err) != fault.Internal:
		return n, err
	case errors.As(err, &over):
		return n, fault.Wrap(fault.TooLarge, err, "the body has more than the %d bytes that are taken", b.limit)
	}
	return n, fault.Wrap(fault.Invalid, err, "the body ended early")
}

func (a *API) body(w http.ResponseWriter, r *http.Request, more int64) io.Reader {
	limit := a.Server.cfg.MaxFile
	return body{http.MaxBytesReader(w, r.Body, limit+more), limit}
}

// maxFormHead is what a form has around its file.
const maxFormHead = 64 << 10

// uploadFile takes the first file of a form, whatever the field's name.
func (a *API) uploadFile(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return fault.New(fault.Invalid, "the body should be multipart/form-data with a file")
	}
	form := multipart.NewReader(a.body(w, r, maxFormHead), params["boundary"])
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			return fault.New(fault.Invalid, "the form has no file")
		}
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				err = fault.Wrap(fault.Invalid, err, "the form cannot be read")
			}
			return err
		}
		if part.FileName() == "" {
			continue
		}
		name := path.Base(strings.ReplaceAll(part.FileName(), `\`, "/"))
		if err := writeFile(x.worker.workDir(), name, &formFile{part, a.Server.cfg.MaxFile}); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusCreated)
		return nil
	}
}

// formFile is a file in a form: one that is cut off is no file, and one that is too large neither.
type formFile struct {
	part *multipart.Part
	left int64
}

func (f *formFile) Read(p []byte) (int, error) {
	n, err := f.part.Read(p)
	if f.left -= int64(n); f.left < 0 {
		return 0, fault.New(fault.TooLarge, "the file is larger than what is taken")
	}
	if err != nil && err != io.EOF && fault.KindOf(err) == fault.Internal {
		err = fault.Wrap(fault.Invalid, err, "the form ended early")
	}
	return n, err
}

func (a *API) listFiles(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	all, err := list(x.worker.workDir())
	if err != nil {
		return err
	}
	return answer(w, all.names())
}

func (a *API) getFile(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	name := mux.Vars(r)["fileName"]
	f, _, err := openFile(x.worker.workDir(), name)
	if err != nil {
		return noFile(err)
	}
	return sendFile(w, r, f, path.Base(name), octets)
}

// noFile makes NotFound of a name that no file can have: it has none.
func noFile(err error) error {
	if fault.KindOf(err) == fault.Invalid {
		return fault.Wrap(fault.NotFound, err, "there is no file of that name")
	}
	return err
}

func openBatchFile(dir, name string) (*os.File, error) {
	f, _, err := openFile(dir, name)
	if err != nil && fault.KindOf(err) != fault.Internal {
		return nil, fault.Wrap(fault.NotFound, err, "the item has no file of that name")
	}
	return f, err
}

func (a *API) deleteFile(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	if err := removeFile(x.worker.workDir(), mux.Vars(r)["fileName"]); err != nil {
		return noFile(err)
	}
	return ok(w)
}

func (a *API) listObjects(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	names, err := x.objects(r.Context())
	if err != nil {
		return err
	}
	return answer(w, names)
}

// object is the session and the object that a path names.
func (a *API) object(r *http.Request) (*session, string, error) {
	x, err := a.session(r)
	if err != nil {
		return nil, "", err
	}
	name := mux.Vars(r)["objectName"]
	return x, name, checkName("the object's name", name)
}

func (a *API) putObject(w http.ResponseWriter, r *http.Request) error {
	x, name, err := a.object(r)
	if err != nil {
		return err
	}
	if err := x.putObject(r.Context(), name, a.body(w, r, 0)); err != nil {
		return err
	}
	return ok(w)
}

func (a *API) getObject(w http.ResponseWriter, r *http.Request) error {
	x, name, err := a.object(r)
	if err != nil {
		return err
	}
	f, err := x.object(r.Context(), name)
	if err != nil {
		return err
	}
	return sendFile(w, r, f, name+".RData", octets)
}

func (a *API) deleteObject(w http.ResponseWriter, r *http.Request) error {
	x, name, err := a.object(r)
	if err != nil {
		return err
	}
	if err := x.dropObject(r.Context(), name); err != nil {
		return err
	}
	return ok(w)
}

// execute runs code. A client that goes away leaves the execution to itself: its output can be asked for.
func (a *API) execute(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	var req executeRequest
	if err := httpx.ReadJSON(w, r, maxRequest, &req); err != nil {
		return err
	}
	todo, err := req.check(x.worker.runtime)
	if err != nil {
		return err
	}
	if err := x.acquire(r.Context()); err != nil {
		return err
	}
	type outcome struct {
		answer executeResponse
		err    error
	}
	done := make(chan outcome, 1)
	if !a.Server.tasks.start(func(ctx context.Context) {
		defer x.release()
		answer, err := x.execute(ctx, todo)
		done <- outcome{answer, err}
	}) {
		x.release()
		return errStopping
	}
	select {
	case o := <-done:
		if o.err != nil {
			return o.err
		}
		return answer(w, o.answer)
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// check makes an execution of a request.
func (req executeRequest) check(r *runtime) (execution, error) {
	x := execution{code: req.Code}
	if req.Code == "" && len(req.InputParameters)+len(req.OutputParameters) == 0 {
		return x, fault.New(fault.Invalid, `field "code" is missing`)
	}
	for _, p := range req.InputParameters {
		if err := checkName(`field "inputParameters": "name"`, p.Name); err != nil {
			return x, err
		}
		t := ""
		if p.Type != "" {
			known := false
			if t, known = parseType(p.Type); !known {
				return x, fault.New(fault.Invalid, `field "inputParameters": %.100q has the type %.100q, which is none of %s`,
					p.Name, p.Type, strings.Join(types, ", "))
			}
		}
		g, err := checkValue(p.Name, t, p.Value, r)
		if err != nil {
			return x, err
		}
		x.inputs = append(x.inputs, g)
	}
	for _, name := range req.OutputParameters {
		if err := checkName(`field "outputParameters"`, name); err != nil {
			return x, err
		}
		x.outputs = append(x.outputs, param{Name: name})
	}
	return x, nil
}
