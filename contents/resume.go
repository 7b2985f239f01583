package contents

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// Beyond Jupyter: an upload in parts can be looked at, continued by byte ranges, committed and cancelled, with
// ?upload=ID on the file's own address. Jupyter's numbered chunks are the upload "chunks"; other ids are the
// client's own. docs/adapters/image-store.md describes it for clients.

// numberedID is what clients call the upload that Jupyter's chunks go to.
const numberedID = "chunks"

func (a *API) registerUploads(r *mux.Router) {
	handle := func(method string, h httpx.Handler) {
		r.Handle(`/api/contents/{path:(?s:.*)}`, h).Methods(method).Queries("upload", "{upload:.*}")
	}
	handle(http.MethodGet, a.getUploads)
	handle(http.MethodPut, a.putRange)
	handle(http.MethodPost, a.commitUpload)
	handle(http.MethodDelete, a.cancelUpload)
}

// uploadModel is an upload as clients see it.
type uploadModel struct {
	ID           string     `json:"id"`
	Path         string     `json:"path"`
	Size         *int64     `json:"size"` // null while nobody has said
	Received     int64      `json:"received"`
	End          int64      `json:"end"`     // behind the last byte that has come
	Missing      [][2]int64 `json:"missing"` // first and last byte
	LastModified timestamp  `json:"last_modified"`
	Expires      timestamp  `json:"expires"`
}

func (a *API) uploadModel(u *Upload) uploadModel {
	m := uploadModel{ID: u.id, Path: u.path.rel, Received: u.Held(), End: u.End(), Missing: [][2]int64{},
		LastModified: timestamp(u.Modified()), Expires: timestamp(u.Modified().Add(a.staging.ttl))}
	if u.id == chunkID(u.path) {
		m.ID = numberedID
	}
	if u.size != UnknownSize {
		m.Size = &u.size
	}
	for _, r := range u.Missing() {
		m.Missing = append(m.Missing, [2]int64{r.From, r.To - 1})
	}
	return m
}

var uploadName = regexp.MustCompile(`^[\w-]{1,64}$`)

// uploadOf is the request's path and the id of its upload, "" for none.
func uploadOf(r *http.Request) (p Path, id string, err error) {
	if p, err = pathOf(r); err != nil {
		return p, "", err
	}
	switch id = mux.Vars(r)["upload"]; {
	case id == "":
		return p, "", nil
	case id == numberedID:
		return p, chunkID(p), nil
	case !uploadName.MatchString(id):
		return p, "", fault.New(fault.Invalid, `query "upload" should be 1 to 64 letters, digits, "-" or "_"`)
	}
	return p, id, nil
}

// findUpload is the upload that the request names. One of another path is NotFound.
func (a *API) findUpload(r *http.Request) (*Upload, error) {
	p, id, err := uploadOf(r)
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, fault.New(fault.Invalid, `query "upload" should name an upload`)
	}
	u, err := a.staging.Upload(id)
	if err != nil || u.path != p {
		return nil, fault.New(fault.NotFound, "no upload %q of %q", mux.Vars(r)["upload"], p)
	}
	return u, nil
}

func (a *API) getUploads(w http.ResponseWriter, r *http.Request) error {
	p, id, err := uploadOf(r)
	if err != nil {
		return err
	}
	if id != "" {
		u, err := a.findUpload(r)
		if err != nil {
			return err
		}
		return httpx.WriteJSON(w, http.StatusOK, a.uploadModel(u))
	}
	all := []uploadModel{}
	for _, u := range a.staging.Uploads(p) {
		all = append(all, a.uploadModel(u))
	}
	return httpx.WriteJSON(w, http.StatusOK, struct {
		Uploads []uploadModel `json:"uploads"`
	}{all})
}

// putRange stores one range of a file's own bytes, and begins the upload when it is the first.
func (a *API) putRange(w http.ResponseWriter, r *http.Request) error {
	p, id, err := uploadOf(r)
	if err != nil {
		return err
	}
	part, size, err := ParseContentRange(r.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	if r.ContentLength >= 0 && r.ContentLength != part.Len() {
		return fault.New(fault.Invalid, "the body has %d bytes, Content-Range says %d", r.ContentLength, part.Len())
	}
	if id == chunkID(p) {
		size = UnknownSize // its end is what the last chunk, or the commit, says
	}
	if id == "" {
		return fault.New(fault.Invalid, `query "upload" should name an upload`)
	}
	u, err := a.staging.Begin(id, p, size)
	if err != nil {
		return err
	}
	body := ExactBody(r.Body, part.Len())
	if err := u.WriteAt(r.Context(), Part{Range: part, Body: body, Abort: httpx.BodyAborter(w, r)}); err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, a.uploadModel(u))
}

// commitUpload makes the upload the file. ?size= is how large the file should be, for an upload whose size nobody
// has said.
func (a *API) commitUpload(w http.ResponseWriter, r *http.Request) error {
	u, err := a.findUpload(r)
	if err != nil {
		return err
	}
	if text := r.URL.Query().Get("size"); text != "" {
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil || size < 0 {
			return fault.New(fault.Invalid, `query "size" should be a number of bytes`)
		}
		if end := u.End(); end != size {
			return fault.New(fault.Conflict, "the upload ends after %d bytes, not %d", end, size)
		}
	}
	m, err := u.Commit(r.Context())
	if err != nil {
		return err
	}
	return a.located(w, r, http.StatusOK, m)
}

func (a *API) cancelUpload(w http.ResponseWriter, r *http.Request) error {
	u, err := a.findUpload(r)
	if err != nil {
		return err
	}
	if err := u.Cancel(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ParseContentRange reads a request's Content-Range: "bytes FIRST-LAST/SIZE", with * for a size that is not known,
// or "bytes */SIZE" for no bytes at all. Anything else is Invalid. The range lies within the size.
func ParseContentRange(header string) (Range, int64, error) {
	bad := fault.New(fault.Invalid, `header Content-Range should be "bytes FIRST-LAST/SIZE", not %.100q`, header)
	unit, rest, _ := strings.Cut(header, " ")
	span, total, ok := strings.Cut(rest, "/")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return Range{}, 0, bad
	}
	size, ok := parsePosition(total)
	if total == "*" {
		size, ok = UnknownSize, span != "*"
	}
	if !ok {
		return Range{}, 0, bad
	}
	if span == "*" {
		return Range{}, size, nil
	}
	first, last, ok := strings.Cut(span, "-")
	from, ok1 := parsePosition(first)
	to, ok2 := parsePosition(last)
	if !ok || !ok1 || !ok2 || to < from {
		return Range{}, 0, bad
	}
	if size != UnknownSize && to >= size {
		return Range{}, 0, fault.New(fault.Invalid, "header Content-Range: byte %d is not within a file of %d", to, size)
	}
	return Range{from, to + 1}, size, nil
}

// maxPosition keeps positions, and one behind them, within an int64.
const maxPosition = 1 << 62

// parsePosition takes digits only: no sign, no space.
func parsePosition(s string) (int64, bool) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n < maxPosition
}
