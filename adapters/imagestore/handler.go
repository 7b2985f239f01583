package imagestore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// API serves the files of a folder. Safe for concurrent use.
type API struct {
	// Files is the store; its Config has ForPrograms, so that commits make folders and versions.
	Files *contents.Dir
	// MaxFile is the largest file that is taken in one request, in bytes.
	MaxFile int64
}

// handler is an operation of the API: ctx ends when the client's patience does.
type handler func(ctx context.Context, w http.ResponseWriter, r *http.Request) error

// Register adds the routes, below /ImageStore. r matches decoded paths and does not clean them.
func (a *API) Register(r *mux.Router) {
	const root, content = "/ImageStore", `/ImageStore/{path:(?s:.*)}`
	for _, o := range []struct {
		method, path string
		least        apiVersion
		do           handler
	}{
		{http.MethodPost, root + "/$/CommitUploadSession", version60, a.commit},
		{http.MethodPost, root + "/$/Copy", version60, a.copy},
		{http.MethodDelete, root + "/$/DeleteUploadSession", version60, a.cancel},
		{http.MethodGet, root + "/$/GetUploadSession", version60, a.sessionByID},
		{http.MethodGet, root + "/$/FolderSize", version65, a.size},
		{http.MethodGet, root + "/$/Info", version65, a.info},
		{http.MethodGet, content + "/$/GetUploadSession", version60, a.sessionsByPath},
		{http.MethodGet, content + "/$/FolderSize", version65, a.size},
		{http.MethodPut, content + "/$/UploadChunk", version60, a.uploadChunk},
		{http.MethodGet, root, version60, a.content},
		{http.MethodGet, content, version60, a.content},
		{http.MethodPut, content, version60, a.upload},
		{http.MethodDelete, content, version60, a.delete},
	} {
		r.Handle(o.path, operation(o.least, o.do)).Methods(o.method)
	}
}

// operation checks what every request has, and bounds the time of do.
func operation(least apiVersion, do handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := run(least, do, w, r); err != nil {
			WriteError(w, r, err)
		}
	})
}

func run(least apiVersion, do handler, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if err := checkVersion(q.Get("api-version"), least); err != nil {
		return err
	}
	timeout, err := parseTimeout(q.Get("timeout"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	// A body that does not come must not outlast the client's patience.
	stop := context.AfterFunc(ctx, httpx.BodyAborter(w, r))
	defer stop()
	err = do(ctx, w, r)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.Wrap(fault.Timeout, err, "the operation took more than the %v of its timeout", timeout)
	}
	return err
}

// WriteError answers with a FabricError, and notes err for the access log.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	kind := fault.KindOf(err)
	httpx.NoteError(r.Context(), err)
	var body fabricError
	body.Error.Code, body.Error.Message = codeOf(err), fault.Message(err)
	if id := httpx.RequestID(r.Context()); kind == fault.Internal && id != "" {
		body.Error.Message += " (request " + id + ")"
	}
	if (kind == fault.Busy || kind == fault.TooMany) && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(1))
	}
	_ = httpx.WriteJSON(w, statusOf(kind, httpx.Status), body)
}

// ok answers 200 without a body, the only success that clients know.
func ok(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

func answer(w http.ResponseWriter, v any) error { return httpx.WriteJSON(w, http.StatusOK, v) }

func (a *API) content(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	p, err := parsePath(mux.Vars(r)["path"])
	if err != nil {
		return err
	}
	files, folders, err := a.Files.Inventory(ctx, p)
	if err != nil {
		return err
	}
	return answer(w, contentOf(files, folders))
}

func (a *API) size(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	p, err := parsePath(mux.Vars(r)["path"])
	if err != nil {
		return err
	}
	sum, err := a.Files.Usage(ctx, p)
	if err != nil {
		return codeFor(err, fault.NotFound, codeNoFolder)
	}
	return answer(w, sizeOf(sum))
}

func (a *API) info(ctx context.Context, w http.ResponseWriter, _ *http.Request) error {
	total, free, err := a.Files.DiskSpace()
	if err != nil {
		return err
	}
	stored, err := a.Files.Usage(ctx, contents.Path{})
	if err != nil {
		return err
	}
	staging := a.Files.Staging()
	return answer(w, infoOf(total, free, stored, len(staging.Uploads(contents.Path{})), staging.Held()))
}

// body is a request's body as bytes of a file: what breaks it off is the client's fault, not the server's.
type body struct{ r io.Reader }

func (b body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	var over *http.MaxBytesError
	switch {
	case err == nil, err == io.EOF, fault.KindOf(err) != fault.Internal:
		return n, err
	case errors.As(err, &over):
		return n, fault.Wrap(fault.TooLarge, err, "the file has more than the %d bytes that are taken", over.Limit)
	}
	return n, fault.Wrap(fault.Invalid, err, "the body ended early")
}

func (a *API) upload(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	p, err := parseFilePath(mux.Vars(r)["path"])
	if err != nil {
		return err
	}
	if r.Header.Get("Content-Range") != "" { // RFC 9110, 14.5: not a whole file
		return fault.New(fault.Invalid, "a file in parts goes to its path with /$/UploadChunk")
	}
	if r.ContentLength > a.MaxFile {
		return fault.New(fault.TooLarge, "the file has %d bytes, at most %d are taken", r.ContentLength, a.MaxFile)
	}
	if _, err := a.Files.WriteFile(ctx, p, body{http.MaxBytesReader(w, r.Body, a.MaxFile)}); err != nil {
		return err
	}
	return ok(w)
}

func (a *API) delete(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	p, err := parseFilePath(mux.Vars(r)["path"])
	if err != nil {
		return err
	}
	if err := a.Files.Delete(ctx, p); err != nil {
		return err
	}
	return ok(w)
}

// maxCopyBytes bounds the body of a copy: two paths and a list of names.
const maxCopyBytes = 1 << 20

func (a *API) copy(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	var d *copyDescription
	if err := httpx.ReadJSON(w, r, maxCopyBytes, &d); err != nil {
		return err
	}
	from, to, o, err := copyOf(d)
	if err != nil {
		return err
	}
	if err := a.Files.CopyTree(ctx, from, to, o); err != nil {
		return err
	}
	return ok(w)
}

func (a *API) uploadChunk(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	p, err := parseFilePath(mux.Vars(r)["path"])
	if err != nil {
		return err
	}
	id, err := parseSession(r.URL.Query().Get("session-id"))
	if err != nil {
		return err
	}
	part, size, err := contents.ParseContentRange(r.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return err
	case size == contents.UnknownSize:
		return fault.New(fault.Invalid, "header Content-Range has to say how large the whole file is")
	case r.ContentLength >= 0 && r.ContentLength != part.Len():
		return fault.New(fault.Invalid, "the body has %d bytes, Content-Range says %d", r.ContentLength, part.Len())
	}
	u, err := a.Files.Staging().Begin(id, p, size)
	if err != nil {
		return codeFor(err, fault.Conflict, codeIDConflict)
	}
	err = u.WriteAt(ctx, contents.Part{Range: part, Body: body{contents.ExactBody(r.Body, part.Len())}, Abort: httpx.BodyAborter(w, r)})
	if err != nil {
		return codeFor(err, fault.Conflict, codeRange)
	}
	return ok(w)
}

// session is the upload that the request names.
func (a *API) session(r *http.Request) (*contents.Upload, error) {
	id, err := parseSession(r.URL.Query().Get("session-id"))
	if err != nil {
		return nil, err
	}
	return a.Files.Staging().Upload(id)
}

func (a *API) commit(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	u, err := a.session(r)
	if err != nil {
		return err
	}
	if _, err := u.Commit(ctx); err != nil {
		return codeFor(err, fault.Conflict, codeRange)
	}
	return ok(w)
}

func (a *API) cancel(_ context.Context, w http.ResponseWriter, r *http.Request) error {
	u, err := a.session(r)
	if err != nil {
		return err
	}
	if err := u.Cancel(); err != nil {
		return err
	}
	return ok(w)
}

func (a *API) sessionByID(_ context.Context, w http.ResponseWriter, r *http.Request) error {
	u, err := a.session(r)
	if err != nil {
		return err
	}
	return answer(w, sessionsOf([]session{sessionOf(u)}))
}

func (a *API) sessionsByPath(_ context.Context, w http.ResponseWriter, r *http.Request) error {
	p, err := parsePath(mux.Vars(r)["path"])
	if err != nil {
		return err
	}
	var all []session
	for _, u := range a.Files.Staging().Uploads(p) {
		all = append(all, sessionOf(u))
	}
	return answer(w, sessionsOf(all))
}
