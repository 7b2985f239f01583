package codeinterpreter

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
)

// form is a multipart body with a file of each pair of a name and its bytes, and its Content-Type.
func form(t *testing.T, pairs ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i+1 < len(pairs); i += 2 {
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", fmt.Sprintf(`form-data; name="file"; filename="%s"`, pairs[i]))
		h.Set("Content-Type", "application/octet-stream")
		part, err := w.CreatePart(h)
		require.NoError(t, err)
		_, err = io.WriteString(part, pairs[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.String(), w.FormDataContentType()
}

func (s *server) uploadFile(identifier, name, text string) answer {
	s.t.Helper()
	body, kind := form(s.t, name, text)
	return s.ask("POST", "files?identifier="+identifier, body, "Content-Type", kind)
}

// poolRoutes are the routes below a pool, as OpenAPI writes them.
func poolRoutes(t *testing.T) map[string]bool {
	t.Helper()
	routes := map[string]bool{}
	r := mux.NewRouter()
	(&API{Interpreter: &Interpreter{}}).Register(r)
	require.NoError(t, r.Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := r.GetPathTemplate()
		require.NoError(t, err)
		path, below := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/")+"/{pool}")
		methods, err := r.GetMethods()
		require.NoError(t, err)
		for _, m := range methods {
			if below && m != http.MethodHead {
				routes[m+" "+strings.ReplaceAll(path, `{name:(?s:.+)}`, "{name}")] = true
			}
		}
		return nil
	}))
	return routes
}

// The same file by every family's routes.
func TestFilesOfEveryFamily(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	for _, f := range []struct{ version, upload, content string }{
		{"2024-02-02-preview", "files/upload", "files/content/%s"},
		{"2024-08-02-preview", "upload", "files/content/%s/content"},
		{"2024-10-02-preview", "files", "files/%s/content"},
		{"2025-10-02-preview", "files", "files/%s/content"},
	} {
		query := "?identifier=" + f.version + "&api-version=" + f.version
		for _, name := range []string{"README.md", "sub/ünï cödé.bin"} {
			body, kind := form(t, "/mnt/data/"+name, "content of "+name)
			a := s.ask("POST", f.upload+query, body, "Content-Type", kind)
			require.Equal(t, http.StatusOK, a.code, a.body)
			require.Contains(t, a.body, name[strings.LastIndexByte(name, '/')+1:])
			escaped := strings.ReplaceAll(name, " ", "%20")
			require.Equal(t, "content of "+name, s.ask("GET", fmt.Sprintf(f.content, escaped)+query, "").body)
			part := s.ask("GET", fmt.Sprintf(f.content, escaped)+query, "", "Range", "bytes=0-6")
			require.Equal(t, http.StatusPartialContent, part.code)
			require.Equal(t, "content", part.body)
			require.Equal(t, http.StatusRequestedRangeNotSatisfiable, s.ask("GET", fmt.Sprintf(f.content, escaped)+query, "", "Range", "bytes=900-").code)
			require.Contains(t, part.header.Get("Content-Security-Policy"), "sandbox", "S7")
			require.Equal(t, "nosniff", part.header.Get("X-Content-Type-Options"))
			require.Equal(t, http.StatusOK, s.ask("GET", "files/"+escaped+query, "").code)
		}
		list := s.ask("GET", "files"+query+"&recursive=true", "").body
		require.Contains(t, list, "README.md")
		require.Contains(t, list, "ünï cödé.bin")
		a := s.ask("DELETE", "files/README.md"+query, "")
		if f.version < "2024-10" {
			require.Equal(t, http.StatusOK, a.code)
			require.JSONEq(t, `{"message":"file deleted successfully"}`, a.body)
		} else {
			require.Equal(t, http.StatusNoContent, a.code)
		}
		refused(t, s.ask("GET", fmt.Sprintf(f.content, "README.md")+query, ""), http.StatusNotFound, "NotFound")
	}
}

// Without a query, as the API's own example has it: the pool's default session.
func TestUploadWithoutASession(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	body, kind := form(t, "README.md", "x")
	a := s.ask("POST", "upload", body, "Content-Type", kind)
	require.Equal(t, http.StatusOK, a.code, a.body)
	require.Equal(t, "README.md", decode[[]file2408](t, a.body)[0].Name)
	require.Equal(t, "default", decode[sessionResource](t, s.ask("GET", "session", "").body).Identifier)
	require.Empty(t, s.kernels.List(), "no kernel until there is something to run")
}

// semantic-kernel says application/json in uploads once it has executed something.
func TestUploadWithAWrongContentType(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	body, _ := form(t, "a.txt", "text")
	a := s.ask("POST", "files/upload?identifier=wrong&api-version=2024-02-02-preview", body, "Content-Type", "application/json")
	require.Equal(t, http.StatusOK, a.code, a.body)
	require.Equal(t, "text", s.ask("GET", "files/content/a.txt?identifier=wrong&api-version=2024-02-02-preview", "").body)
}

func TestUploadsIntoFoldersAndSeveral(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	body, kind := form(t, "a.txt", "1", "b/c.txt", "2")
	a := s.ask("POST", "files?identifier=more&path=/mnt/data/in", body, "Content-Type", kind)
	require.Equal(t, http.StatusOK, a.code, a.body)
	require.Len(t, decode[files2410](t, a.body).Value, 2)
	require.Equal(t, "2", s.ask("GET", "files/c.txt/content?identifier=more&path=in/b&api-version=2025-10-02", "").body)
	flat := decode[files2410](t, s.ask("GET", "files?identifier=more&path=in&api-version=2025-10-02", "").body)
	require.Len(t, flat.Value, 2)
	require.Equal(t, "directory", flat.Value[1].Type)
	require.Equal(t, "in", flat.Value[0].Directory)

	for i := range pageSize + 3 {
		x, err := s.pools["test"].find("more")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(fmt.Sprintf("%s/f%05d", x.folder.files(), i), nil, 0o600))
	}
	page := decode[files2410](t, s.ask("GET", "files?identifier=more&api-version=2025-10-02", "").body)
	require.Len(t, page.Value, pageSize)
	require.NotNil(t, page.NextLink)
	rest := decode[files2410](t, s.ask("GET", strings.TrimPrefix(*page.NextLink, s.url), "").body)
	require.Len(t, rest.Value, 4)
	require.Nil(t, rest.NextLink)
}

// 50 MB there and back, with their digest.
func TestLargeFiles(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	large := make([]byte, 50<<20)
	_, _ = rand.Read(large)
	require.Equal(t, http.StatusOK, s.uploadFile("large", "large.bin", string(large)).code)
	a := s.ask("GET", "files/large.bin/content?identifier=large&api-version=2025-10-02", "")
	require.Equal(t, sha256.Sum256(large), sha256.Sum256([]byte(a.body)))
}

func TestFileLimits(t *testing.T) {
	s := scripted(t, nil).serve(func(c *Config) { c.MaxUpload, c.Pools[0].Disk = 1000, 1500+1000 })
	refused(t, s.uploadFile("full", "big.bin", strings.Repeat("x", 1001)), http.StatusRequestEntityTooLarge, "PayloadTooLarge")
	require.Equal(t, http.StatusNotFound, s.ask("GET", "files/big.bin?identifier=full", "").code, "P7: nothing of it is there")
	require.Equal(t, http.StatusOK, s.uploadFile("full", "a.bin", strings.Repeat("x", 1000)).code)
	require.Equal(t, http.StatusOK, s.uploadFile("full", "b.bin", strings.Repeat("x", 1000)).code)
	refused(t, s.uploadFile("full", "c.bin", strings.Repeat("x", 1000)), http.StatusInsufficientStorage, "InsufficientStorage")
	require.Len(t, decode[[]file2408](t, s.ask("GET", "files?identifier=full", "").body), 2)
}

// Parts of a file, in any order, repeated, after a cut, by the next server (P8).
func TestUploadsResume_P8(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(nil)
	put := func(span, body string) answer {
		return s.ask("PUT", "files/sub/x.bin?identifier=parts&upload=u1", body, "Content-Range", "bytes "+span)
	}
	a := put("4-8/9", "efghi")
	require.Equal(t, http.StatusOK, a.code, a.body)
	require.JSONEq(t, `{"id":"u1","name":"sub/x.bin","sizeInBytes":9,"receivedBytes":5,"missing":[[0,3]]}`, a.body)
	require.Equal(t, a.body, s.ask("GET", "files/sub/x.bin?identifier=parts&upload=u1", "").body)
	refused(t, s.ask("POST", "files/sub/x.bin?identifier=parts&upload=u1", ""), http.StatusConflict, "Conflict")
	require.Equal(t, http.StatusNotFound, s.ask("GET", "files/sub/x.bin?identifier=parts", "").code)
	s.stop()
	s = m.serve(nil)
	require.Equal(t, a.body, s.ask("GET", "files/sub/x.bin?identifier=parts&upload=u1", "").body)
	require.Equal(t, http.StatusOK, put("0-3/9", "abcd").code)
	require.Equal(t, http.StatusOK, put("0-3/9", "abcd").code, "a repeat is harmless")
	a = s.ask("POST", "files/sub/x.bin?identifier=parts&upload=u1", "")
	require.Equal(t, http.StatusOK, a.code, a.body)
	require.Equal(t, "abcdefghi", s.ask("GET", "files/sub/x.bin/content?identifier=parts&api-version=2025-10-02", "").body)

	require.Equal(t, http.StatusOK, s.ask("PUT", "files/y?identifier=parts&upload=u2", "x", "Content-Range", "bytes 0-0/2").code)
	require.Equal(t, http.StatusNoContent, s.ask("DELETE", "files/y?identifier=parts&upload=u2", "").code)
	refused(t, s.ask("GET", "files/y?identifier=parts&upload=u2", ""), http.StatusNotFound, "NotFound")
}

// What code puts into its folder leads nobody out of it (S8), and nothing hangs on it.
func TestFilesOfHostileCode_S8(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	require.Equal(t, http.StatusOK, s.uploadFile("evil", "a.txt", "x").code)
	x, err := s.pools["test"].find("evil")
	require.NoError(t, err)
	dir := x.folder.files()
	require.NoError(t, os.Symlink("/etc/passwd", dir+"/link"))
	require.NoError(t, os.Symlink("/etc", dir+"/folder"))
	require.NoError(t, os.Symlink("folder", dir+"/loop"))
	require.NoError(t, mkfifo(dir+"/fifo"))
	for _, name := range []string{"link", "folder/passwd", "loop/passwd"} {
		require.Equal(t, http.StatusNotFound, s.ask("GET", "files/"+name+"/content?identifier=evil&api-version=2025-10-02", "").code, name)
	}
	require.Equal(t, http.StatusBadRequest, s.ask("GET", "files/fifo/content?identifier=evil&api-version=2025-10-02", "").code)
	list := decode[files2410](t, s.ask("GET", "files?identifier=evil&recursive=true&api-version=2025-10-02", "").body)
	require.Len(t, list.Value, 1, "%+v", list)
	a := s.uploadFile("evil", "folder/new.txt", "x")
	require.GreaterOrEqual(t, a.code, 400, a.body)
	require.NoFileExists(t, "/etc/new.txt")

	// The hand-over of shell commands, with what a session may put in its place.
	home := x.folder.home()
	require.NoError(t, os.RemoveAll(home+"/"+handOver))
	require.NoError(t, os.Symlink("/etc", home+"/"+handOver))
	require.Error(t, x.folder.give("x.sh", "text"))
	require.Empty(t, x.folder.take("passwd", 100))
	require.FileExists(t, "/etc/passwd")
	require.NoError(t, os.Remove(home+"/"+handOver))
	require.NoError(t, os.Mkdir(home+"/"+handOver, 0o700))
	require.NoError(t, mkfifo(home+"/"+handOver+"/x.err"))
	require.Empty(t, x.folder.take("x.err", 100))
	require.NoError(t, os.WriteFile(home+"/"+handOver+"/long.err", []byte(strings.Repeat("é", 1000)), 0o600))
	require.Contains(t, x.folder.take("long.err", 101), "bytes left out")
}
