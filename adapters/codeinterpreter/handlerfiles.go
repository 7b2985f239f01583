package codeinterpreter

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// filePath makes a path in a session's folder of what a client calls it: relative, or as its code sees it.
func filePath(text string) (contents.Path, error) {
	if rest, ok := strings.CutPrefix(text, mount); ok && (rest == "" || rest[0] == '/') {
		text = rest
	}
	return contents.ParsePath(text)
}

// inFolder is the path of name in the folder that the query names.
func (c *call) inFolder(name string) (contents.Path, error) {
	folder, err := filePath(c.r.URL.Query().Get("path"))
	if err != nil {
		return folder, err
	}
	p, err := filePath(name)
	if err != nil || folder.IsRoot() {
		return p, err
	}
	return filePath(folder.String() + "/" + p.String())
}

// fileOf is the same for what has to be a file.
func (c *call) fileOf(name string) (contents.Path, error) {
	p, err := c.inFolder(name)
	if err == nil && p.IsRoot() {
		err = fault.New(fault.Invalid, "the name of the file is missing")
	}
	return p, err
}

// body is a part of a request as bytes of a file: what breaks it off is the client's fault, not the server's.
type body struct {
	r     io.Reader
	limit int64 // bytes
	n     int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.limit:
		return 0, fault.New(fault.TooLarge, "the file has more than the %d bytes that are taken", b.limit)
	case err == nil, err == io.EOF, fault.KindOf(err) != fault.Internal:
		return n, err
	}
	return n, fault.Wrap(fault.Invalid, err, "the body ended early")
}

// multipartOverhead is what the envelope of an upload may take.
const multipartOverhead = 1 << 20

func (c *call) upload() error {
	limit := c.api.Interpreter.cfg.MaxUpload
	if c.r.ContentLength > limit+multipartOverhead {
		return fault.New(fault.TooLarge, "the body has %d bytes, files of at most %d are taken", c.r.ContentLength, limit)
	}
	parts, err := partsOf(c.r)
	if err != nil {
		return err
	}
	s, err := c.session()
	if err != nil {
		return err
	}
	if err := room(c.r.Context(), s.files, max(0, c.r.ContentLength), c.pool.Disk); err != nil {
		return err
	}
	var stored []contents.Entry
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fault.Wrap(fault.Invalid, err, "malformed multipart body")
		}
		entry, err := c.store(s, part)
		if err != nil {
			return err
		}
		if entry != nil {
			stored = append(stored, *entry)
		}
	}
	if len(stored) == 0 {
		return fault.New(fault.Invalid, "the body has no part with a file")
	}
	return c.answerUploaded(stored)
}

// maxBoundary bounds a boundary with its dashes and line end, by RFC 2046, 5.1.1.
const maxBoundary = 70 + len("--\r\n")

// partsOf reads a multipart body. semantic-kernel 1.45 goes on to say application/json in uploads once it has executed
// something: then the body itself tells its boundary.
func partsOf(r *http.Request) (*multipart.Reader, error) {
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" && params["boundary"] != "" {
		return multipart.NewReader(r.Body, params["boundary"]), nil
	}
	body := bufio.NewReaderSize(r.Body, 4<<10)
	first, _ := body.Peek(maxBoundary)
	line, _, ended := strings.Cut(string(first), "\r\n")
	boundary, dashed := strings.CutPrefix(line, "--")
	if !ended || !dashed || boundary == "" {
		return nil, fault.New(fault.Invalid, "the body should be multipart/form-data with a part \"file\"")
	}
	return multipart.NewReader(body, boundary), nil
}

// store writes one part of an upload; nil when it is no file.
func (c *call) store(s *session, part *multipart.Part) (*contents.Entry, error) {
	defer part.Close()
	name, err := fileName(part)
	if name == "" || err != nil {
		return nil, err
	}
	p, err := c.fileOf(name)
	if err != nil {
		return nil, err
	}
	m, err := s.files.WriteFile(c.r.Context(), p, &body{r: part, limit: c.api.Interpreter.cfg.MaxUpload})
	if err != nil {
		return nil, err
	}
	return &contents.Entry{Path: p, Size: m.Size, Modified: m.LastModified, Mimetype: m.Mimetype}, nil
}

// fileName is the name that a part gives its file: with its folders, which Part.FileName drops. "" for a part that is
// no file.
func fileName(part *multipart.Part) (string, error) {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return "", fault.Wrap(fault.Invalid, err, "malformed Content-Disposition of a part")
	}
	return params["filename"], nil
}

func (c *call) answerUploaded(stored []contents.Entry) error {
	switch {
	case c.family == family2402:
		return c.answer(http.StatusOK, list2402(stored))
	case c.family == family2408:
		return c.answer(http.StatusOK, list2408(stored))
	case len(stored) == 1:
		return c.answer(http.StatusOK, resourceOf(stored[0]))
	}
	return c.answer(http.StatusOK, list2410(stored))
}

// maxListed bounds the older lists, which have no pages.
const maxListed = 10_000

func (c *call) listFiles() error {
	q := c.r.URL.Query()
	folder, err := filePath(q.Get("path"))
	if err != nil {
		return err
	}
	deep := !c.family.resources() // the older families know no folders: all files are in one list
	if text := q.Get("recursive"); text != "" {
		if deep, err = strconv.ParseBool(strings.ToLower(text)); err != nil {
			return fault.New(fault.Invalid, `query "recursive" should be true or false, not %.60q`, text)
		}
	}
	skip, err := c.skip()
	if err != nil {
		return err
	}
	s, err := c.session()
	if err != nil {
		return err
	}
	limit := maxListed
	if c.family.resources() {
		limit = min(skip, 1<<20) + pageSize
	}
	all, more, err := s.files.Walk(c.r.Context(), folder, deep, limit)
	if err != nil {
		return err
	}
	switch c.family {
	case family2402:
		return c.answer(http.StatusOK, list2402(all))
	case family2408:
		return c.answer(http.StatusOK, list2408(all))
	}
	answer := list2410(all[min(skip, len(all)):])
	if more {
		link := c.link("files", url.Values{"path": {q.Get("path")}, "recursive": {strconv.FormatBool(deep)}, "skip": {strconv.Itoa(skip + pageSize)}})
		answer.NextLink = &link
	}
	return c.answer(http.StatusOK, answer)
}

// getFile answers with a file or with what is known of it: the families tell them apart in different ways.
func (c *call) getFile() error {
	name := mux.Vars(c.r)["name"]
	if c.r.URL.Query().Has("upload") {
		return c.getUpload(name)
	}
	name, content := c.wanted(name)
	p, err := c.fileOf(name)
	if err != nil {
		return err
	}
	s, err := c.session()
	if err != nil {
		return err
	}
	if content {
		return c.serve(s, p)
	}
	m, err := s.files.Get(c.r.Context(), p, contents.GetOptions{})
	if err != nil {
		return err
	}
	entry := contents.Entry{Path: p, Folder: m.Type == contents.TypeDirectory, Size: max(0, m.Size), Modified: m.LastModified, Mimetype: m.Mimetype}
	if c.family.resources() {
		return c.answer(http.StatusOK, resourceOf(entry))
	}
	return c.answer(http.StatusOK, metadata2408{[]file2402{old(entry)}})
}

// wanted tells what a path below files/ asks for: files/{name}/content in the newer families, files/content/{name} or
// files/content/{name}/content in the older ones, are the file itself.
func (c *call) wanted(rest string) (name string, content bool) {
	if c.family.resources() {
		if name, ok := strings.CutSuffix(rest, "/content"); ok {
			return name, true
		}
		return rest, false
	}
	name, content = strings.CutPrefix(rest, "content/")
	if content && c.family == family2408 {
		name = strings.TrimSuffix(name, "/content")
	}
	return name, content
}

// serve sends a file's own bytes: whole, in ranges, or only its headers.
func (c *call) serve(s *session, p contents.Path) error {
	f, err := s.files.Open(c.r.Context(), p)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fault.OS(err, "the file")
	}
	h := c.w.Header()
	// Promise S7: what code wrote runs nowhere, and is what its name says.
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", contentType(p.Name()))
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(c.w, c.r, "", info.ModTime(), f)
	return nil
}

// contentType is the type of a file by its name, as it is served.
func contentType(name string) string {
	t := contents.Mimetype(name)
	switch {
	case t == "":
		return "application/octet-stream"
	case strings.HasPrefix(t, "text/"):
		return t + "; charset=utf-8"
	}
	return t
}

func (c *call) deleteFile() error {
	name := mux.Vars(c.r)["name"]
	if c.r.URL.Query().Has("upload") {
		return c.cancelUpload(name)
	}
	p, err := c.fileOf(name)
	if err != nil {
		return err
	}
	s, err := c.session()
	if err != nil {
		return err
	}
	if err := s.files.Delete(c.r.Context(), p); err != nil {
		return err
	}
	if c.family.resources() {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return c.answer(http.StatusOK, message{"file deleted successfully"})
}

func old(e contents.Entry) file2402 {
	return file2402{Properties: fileProperties{Filename: e.Path.String(), Size: e.Size, Modified: timeText(e.Modified)}}
}

func list2402(all []contents.Entry) files2402 {
	answer := files2402{Value: []file2402{}}
	for _, e := range all {
		if !e.Folder {
			answer.Value = append(answer.Value, old(e))
		}
	}
	return answer
}

func list2408(all []contents.Entry) []file2408 {
	answer := []file2408{}
	for _, e := range all {
		if !e.Folder {
			name := e.Path.String()
			answer = append(answer, file2408{name, "file", name, e.Size, timeText(e.Modified), contentType(name)})
		}
	}
	return answer
}

func list2410(all []contents.Entry) files2410 {
	answer := files2410{Value: []file2410{}}
	for _, e := range all {
		answer.Value = append(answer.Value, resourceOf(e))
	}
	return answer
}

func resourceOf(e contents.Entry) file2410 {
	f := file2410{Name: e.Path.Name(), Directory: e.Path.Parent().String(), Type: "file", Size: e.Size, Modified: timeText(e.Modified)}
	if f.ContentType = "application/octet-stream"; e.Folder {
		f.Type = "directory"
	} else if e.Mimetype != "" {
		f.ContentType = e.Mimetype
	}
	return f
}

// Beyond the API: a file can come in parts, under ?upload=ID of the client's choice, as with the server's own
// contents API. PUT files/{name} with Content-Range adds a part, GET tells what is missing, POST makes the file of
// what has come, DELETE gives it up.

// uploadAnswer is an upload in parts.
type uploadAnswer struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Size     *int64     `json:"sizeInBytes"` // null while nobody has said
	Received int64      `json:"receivedBytes"`
	Missing  [][2]int64 `json:"missing"` // first and last byte
}

func answerOf(u *contents.Upload) uploadAnswer {
	a := uploadAnswer{ID: u.ID(), Name: u.Path().String(), Received: u.Held(), Missing: [][2]int64{}}
	if size := u.Size(); size != contents.UnknownSize {
		a.Size = &size
	}
	for _, r := range u.Missing() {
		a.Missing = append(a.Missing, [2]int64{r.From, r.To - 1})
	}
	return a
}

// uploadOf is the session, the path and the upload's id of a request.
func (c *call) uploadOf(name string) (s *session, p contents.Path, id string, err error) {
	if p, err = c.fileOf(name); err != nil {
		return nil, p, "", err
	}
	id = c.r.URL.Query().Get("upload")
	if id == "" || len(id) > 64 || strings.Trim(path.Clean(id), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return nil, p, "", fault.New(fault.Invalid, `query "upload" should be 1 to 64 letters, digits, "-" or "_"`)
	}
	s, err = c.session()
	return s, p, id, err
}

// upload finds an upload. One of another path is NotFound.
func (c *call) findUpload(name string) (*contents.Upload, error) {
	s, p, id, err := c.uploadOf(name)
	if err != nil {
		return nil, err
	}
	u, err := s.files.Staging().Upload(id)
	if err != nil || u.Path() != p {
		return nil, fault.New(fault.NotFound, "there is no upload %q of %q", id, p)
	}
	return u, nil
}

func (c *call) putRange() error {
	s, p, id, err := c.uploadOf(mux.Vars(c.r)["name"])
	if err != nil {
		return err
	}
	part, size, err := contents.ParseContentRange(c.r.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return err
	case c.r.ContentLength >= 0 && c.r.ContentLength != part.Len():
		return fault.New(fault.Invalid, "the body has %d bytes, Content-Range says %d", c.r.ContentLength, part.Len())
	}
	if err := room(c.r.Context(), s.files, max(size, part.Len()), c.pool.Disk); err != nil {
		return err
	}
	u, err := s.files.Staging().Begin(id, p, size)
	if err != nil {
		return err
	}
	err = u.WriteAt(c.r.Context(), contents.Part{Range: part, Body: contents.ExactBody(c.r.Body, part.Len()), Abort: httpx.BodyAborter(c.w, c.r)})
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, answerOf(u))
}

func (c *call) getUpload(name string) error {
	u, err := c.findUpload(name)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, answerOf(u))
}

func (c *call) commitUpload() error {
	u, err := c.findUpload(mux.Vars(c.r)["name"])
	if err != nil {
		return err
	}
	m, err := u.Commit(c.r.Context())
	if err != nil {
		return err
	}
	return c.answerUploaded([]contents.Entry{{Path: u.Path(), Size: m.Size, Modified: m.LastModified, Mimetype: m.Mimetype}})
}

func (c *call) cancelUpload(name string) error {
	u, err := c.findUpload(name)
	if err != nil {
		return err
	}
	if err := u.Cancel(); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
