package imagestore

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/contents"
)

const chunkPath = "/$/UploadChunk?session-id="

func TestWholeFilesAndListings(t *testing.T) {
	s := newStore(t)
	require.Empty(t, s.ok("PUT", "/ImageStore/App%2FCode%2Frun.sh", "echo"), "no body")
	s.ok("PUT", "/ImageStore/App/Code/_.dir", "")
	s.ok("PUT", `/ImageStore/App%5Cmanifest.xml`, "<x/>")
	s.ok("PUT", "/ImageStore/top", "1")
	require.Equal(t, "echo", s.read("App/Code/run.sh"))
	require.Equal(t, "<x/>", s.read("App/manifest.xml"))

	var c storeContent
	list := func(path string) {
		t.Helper()
		c = storeContent{}
		require.NoError(t, json.Unmarshal([]byte(s.ok("GET", path, "")), &c))
	}
	for _, root := range []string{"/ImageStore", "/ImageStore/", "/ImageStore//"} {
		list(root)
		require.Len(t, c.StoreFiles, 1)
		require.Equal(t, []storeFolder{{"App", "3"}}, c.StoreFolders)
	}
	for _, app := range []string{"/ImageStore/App", "/ImageStore/App/", "/ImageStore/%5CApp"} {
		list(app)
		require.Equal(t, []storeFolder{{"App/Code", "2"}}, c.StoreFolders)
		require.Equal(t, "App/manifest.xml", c.StoreFiles[0].StoreRelativePath)
		require.Equal(t, "4", c.StoreFiles[0].FileSize)
	}
	versions := map[string]bool{}
	for i := range 20 { // the same bytes are a new version as well
		s.ok("PUT", "/ImageStore/top", "1")
		list("/ImageStore/top")
		require.Len(t, c.StoreFiles, 1)
		versions[c.StoreFiles[0].FileVersion.VersionNumber] = true
		require.Len(t, versions, i+1)
	}
	require.JSONEq(t, `{"StoreRelativePath":"App","FolderSize":"8"}`, s.ok("GET", "/ImageStore/App/$/FolderSize", ""))
	require.JSONEq(t, `{"StoreRelativePath":"","FolderSize":"9"}`, s.ok("GET", "/ImageStore/$/FolderSize", ""))
	var info storeInfo
	require.NoError(t, json.Unmarshal([]byte(s.ok("GET", "/ImageStore/$/Info", "")), &info))
	require.Equal(t, usage{"9", "4"}, info.UsedByCopy)

	require.Empty(t, s.ok("DELETE", "/ImageStore/App", ""))
	s.fails(404, codeNoFile, "DELETE", "/ImageStore/App", "")
	s.fails(404, codeNoFile, "GET", "/ImageStore/App", "")
	s.fails(404, codeNoFolder, "GET", "/ImageStore/App/$/FolderSize", "")
	s.fails(400, codeInvalid, "DELETE", "/ImageStore/", "")
	s.fails(400, codeInvalid, "PUT", "/ImageStore/", "")
	s.fails(409, codeExists, "PUT", "/ImageStore/top/x", "")
	s.fails(400, codeInvalid, "PUT", "/ImageStore/top", "x", "Content-Range", "bytes 0-0/1")
}

// An empty file may come with chunked transfer encoding, as one client sends it.
func TestEmptyBodyOfUnknownLength(t *testing.T) {
	s := newStore(t)
	status, text := s.ask("PUT", "/ImageStore/a/empty", struct{ io.Reader }{strings.NewReader("")})
	require.Equal(t, 200, status, text)
	require.Empty(t, s.read("a/empty"))
}

func TestWhatEveryRequestNeeds(t *testing.T) {
	s := newStore(t)
	id := uuid.NewString()
	for _, route := range []string{"GET /ImageStore", "GET /ImageStore/x", "PUT /ImageStore/x", "DELETE /ImageStore/x", "PUT /ImageStore/x" + chunkPath + id,
		"GET /ImageStore/x/$/GetUploadSession", "GET /ImageStore/$/GetUploadSession?session-id=" + id, "POST /ImageStore/$/CommitUploadSession?session-id=" + id,
		"DELETE /ImageStore/$/DeleteUploadSession?session-id=" + id, "POST /ImageStore/$/Copy", "GET /ImageStore/$/FolderSize", "GET /ImageStore/x/$/FolderSize", "GET /ImageStore/$/Info"} {
		method, path, _ := strings.Cut(route, " ")
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		for _, query := range []string{"", "api-version=5.0", "api-version=x", "api-version=6.5&timeout=0", "api-version=6.5&timeout=x"} {
			status, text := s.raw(method, path+sep+query, nil)
			require.Equal(t, 400, status, "%s %s", route, query)
			s.code(codeInvalid, text)
		}
	}
	status, text := s.raw("GET", "/ImageStore/$/FolderSize?api-version=6.4", nil)
	require.Equal(t, 400, status)
	require.Contains(t, s.code(codeInvalid, text), "6.5")
	require.Empty(t, s.files.Staging().Uploads(contents.Path{}))
}

func TestSessions_P8(t *testing.T) {
	s := newStore(t)
	id, other := uuid.NewString(), uuid.NewString()
	put := func(session, path, span, body string) string {
		t.Helper()
		return s.ok("PUT", "/ImageStore/"+path+chunkPath+session, body, "Content-Range", span)
	}
	missing := func(session string) string {
		t.Helper()
		var u uploadSessions
		require.NoError(t, json.Unmarshal([]byte(s.ok("GET", "/ImageStore/$/GetUploadSession?session-id="+session, "")), &u))
		require.Len(t, u.UploadSessions, 1)
		require.Equal(t, session, u.UploadSessions[0].SessionId)
		return fmt.Sprint(u.UploadSessions[0].ExpectedRanges)
	}
	require.Empty(t, put(id, "new%2Fbig", "bytes 4-6/10", "456"))
	require.Equal(t, "[{0 3} {7 9}]", missing(id))
	put(id, "new/big", "bytes 4-6/10", "456")
	put(strings.ToUpper(id), `new%5Cbig`, "bytes 3-4/10", "34")
	require.Equal(t, "[{0 2} {7 9}]", missing(id))
	put(other, "new/big", "bytes 0-1/2", "xx")

	chunk := "/ImageStore/new/big" + chunkPath + id
	require.Contains(t, s.fails(409, codeRange, "PUT", chunk, "4x6", "Content-Range", "bytes 4-6/10"), "4-6")
	s.fails(409, codeIDConflict, "PUT", chunk, "01", "Content-Range", "bytes 0-1/11")
	s.fails(409, codeIDConflict, "PUT", "/ImageStore/else"+chunkPath+id, "01", "Content-Range", "bytes 0-1/10")
	for span, body := range map[string]string{"": "01", "bytes 0-1/*": "01", "bytes 0-2/10": "01", "bytes 9-10/10": "01", "bytes 1-0/10": "", "0-1/10": "01"} {
		s.fails(400, codeInvalid, "PUT", chunk, body, "Content-Range", span)
	}
	s.fails(400, codeInvalid, "PUT", "/ImageStore/x"+chunkPath+"7", "01", "Content-Range", "bytes 0-1/2")
	require.Contains(t, s.fails(409, codeRange, "POST", "/ImageStore/$/CommitUploadSession?session-id="+id, ""), "0-2, 7-9")
	require.NoFileExists(t, filepath.Join(s.root, "new"))
	var u uploadSessions
	require.NoError(t, json.Unmarshal([]byte(s.ok("GET", "/ImageStore/new/big/$/GetUploadSession", "")), &u))
	require.Len(t, u.UploadSessions, 2)

	put(id, "new/big", "bytes 0-2/10", "012")
	put(id, "new/big", "bytes 7-9/10", "789")
	require.Equal(t, "[]", missing(id))
	s.ok("POST", "/ImageStore/$/CommitUploadSession?session-id="+id, "")
	require.Equal(t, "0123456789", s.read("new/big"))
	s.ok("POST", "/ImageStore/$/CommitUploadSession?session-id="+other, "")
	require.Equal(t, "xx", s.read("new/big"), "the later commit of two sessions counts")
	for _, end := range []string{"POST /ImageStore/$/CommitUploadSession", "DELETE /ImageStore/$/DeleteUploadSession", "GET /ImageStore/$/GetUploadSession"} {
		method, path, _ := strings.Cut(end, " ")
		s.fails(404, codeNoFile, method, path+"?session-id="+id, "")
		s.fails(400, codeInvalid, method, path+"?session-id=", "")
	}
	put(id, "again", "bytes 0-1/3", "01") // a GUID is free again after the commit
	require.Empty(t, s.ok("DELETE", "/ImageStore/$/DeleteUploadSession?session-id="+id, ""))
	require.JSONEq(t, `{"UploadSessions":[]}`, s.ok("GET", "/ImageStore/again/$/GetUploadSession", ""))
	put(id, "zero", "bytes */0", "")
	s.ok("POST", "/ImageStore/$/CommitUploadSession?session-id="+id, "")
	require.Empty(t, s.read("zero"))
	entries, err := os.ReadDir(s.root)
	require.NoError(t, err)
	require.Len(t, entries, 2, "new and zero, and nothing hidden")
}

func TestCopy(t *testing.T) {
	s := newStore(t)
	for _, p := range []string{"a/_.dir", "a/x", "a/y", "a/sub/z"} {
		s.ok("PUT", "/ImageStore/"+p, p)
	}
	s.ok("POST", "/ImageStore/$/Copy", `{"RemoteSource":"a","RemoteDestination":"b\\c","SkipFiles":["y"],"CheckMarkFile":true}`)
	require.Equal(t, "a/x", s.read("b/c/x"))
	require.NoFileExists(t, filepath.Join(s.root, "b/c/y"))
	require.NoDirExists(t, filepath.Join(s.root, "b/c/sub"), "it has no mark")
	s.ok("POST", "/ImageStore/$/Copy", `{"RemoteSource":"a/sub","RemoteDestination":"d","CheckMarkFile":true}`)
	s.fails(404, codeNoFile, "GET", "/ImageStore/d", "")
	s.ok("POST", "/ImageStore/$/Copy", `{"RemoteSource":"a/sub/z","RemoteDestination":"d"}`)
	require.Equal(t, "a/sub/z", s.read("d"))
	s.fails(409, codeExists, "POST", "/ImageStore/$/Copy", `{"RemoteSource":"a","RemoteDestination":"d"}`)
	s.fails(404, codeNoFile, "POST", "/ImageStore/$/Copy", `{"RemoteSource":"none","RemoteDestination":"e"}`)
	for _, body := range []string{"", "null", "[]", "{}", `{"RemoteSource":"a"}`, `{"RemoteSource":"a","RemoteDestination":"a/b"}`,
		`{"RemoteSource":"..","RemoteDestination":"b"}`, `{"RemoteSource":"a","RemoteDestination":"b","SkipFiles":"x"}`, `{"RemoteSource":1}`} {
		s.fails(400, codeInvalid, "POST", "/ImageStore/$/Copy", body)
	}
}

// What is hidden, what is the server's own and what links lead to outside is not in the store, on any route.
func TestUnreachable_S8(t *testing.T) {
	outside, state := t.TempDir(), ""
	s := newStore(t, func(c *contents.Config) {
		state = filepath.Join(c.RootDir, "state")
		require.NoError(t, os.Mkdir(state, 0o700))
		c.Private = []string{state}
	})
	for _, name := range []string{filepath.Join(outside, "f"), filepath.Join(state, "f"), filepath.Join(s.root, ".hidden")} {
		require.NoError(t, os.WriteFile(name, []byte("secret"), 0o600))
	}
	require.NoError(t, os.Symlink(outside, filepath.Join(s.root, "out")))
	s.ok("PUT", "/ImageStore/plain", "x")
	id := uuid.NewString()
	for _, p := range []string{"out/f", "out", "state/f", "state", ".hidden", ".nbserv-x", "..%2Fx", "a%2F..%2F..%2Fx", `..%5Cx`, "C%3A%5Cx", "a%00b", "%24", "a/%24/b"} {
		at := "/ImageStore/" + p
		for _, r := range []struct{ method, path, body string }{
			{"GET", at, ""}, {"PUT", at + "/new", "x"}, {"DELETE", at + "/f", ""}, {"PUT", at + "/new" + chunkPath + id, "x"}, {"GET", at + "/$/FolderSize", ""},
			{"POST", "/ImageStore/$/Copy", fmt.Sprintf(`{"RemoteSource":%q,"RemoteDestination":"got"}`, unescape(p))},
			{"POST", "/ImageStore/$/Copy", fmt.Sprintf(`{"RemoteSource":"plain","RemoteDestination":%q}`, unescape(p)+"/got")},
		} {
			status, text := s.ask(r.method, r.path, strings.NewReader(r.body), "Content-Range", map[bool]string{true: "bytes 0-0/1"}[strings.Contains(r.path, "Chunk")])
			require.Contains(t, []int{400, 403, 404}, status, "%s %s: %s", r.method, r.path, text)
			require.NotContains(t, text, "secret")
		}
	}
	require.NotContains(t, s.ok("GET", "/ImageStore", ""), "state")
	for _, dir := range []string{outside, state} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	}
	require.Equal(t, "secret", s.read(".hidden"))
	require.NoFileExists(t, filepath.Join(s.root, "got"))
}

func unescape(p string) string {
	return strings.NewReplacer("%2F", "/", "%5C", `\`, "%3A", ":", "%24", "$", "%00", "\x00").Replace(p)
}

// A body that does not come is given up when the client's own patience ends, and nothing of it stays.
func TestTimeoutsAreHonoured(t *testing.T) {
	s := newStore(t)
	for _, path := range []string{"/ImageStore/slow?api-version=6.0&timeout=1", "/ImageStore/slow" + chunkPath + uuid.NewString() + "&api-version=6.0&timeout=1"} {
		body, stuck := io.Pipe()
		req, err := http.NewRequest("PUT", s.url+path, body)
		require.NoError(t, err)
		req.ContentLength = 10
		req.Header.Set("Content-Range", map[bool]string{true: "bytes 0-9/10"}[strings.Contains(path, "Chunk")])
		go func() { _, _ = stuck.Write([]byte("half")) }() // ends with the pipe
		began := time.Now()
		resp, err := s.http.Do(req)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NoError(t, stuck.Close())
		require.Equal(t, 504, resp.StatusCode, string(text))
		s.code(codeTimeout, string(text))
		require.Less(t, time.Since(began), 50*time.Second)
	}
	s.fails(404, codeNoFile, "GET", "/ImageStore/slow", "")
}

func TestLimits(t *testing.T) {
	s := newStore(t, func(c *contents.Config) { c.MaxUpload, c.MaxStaging, c.MaxUploads = 8, 10, 2 })
	s.fails(413, codeTooLarge, "PUT", "/ImageStore/a", "123456789")
	status, text := s.ask("PUT", "/ImageStore/a", struct{ io.Reader }{strings.NewReader("123456789")})
	require.Equal(t, 413, status)
	s.code(codeTooLarge, text)
	chunk := func(n int) string {
		return fmt.Sprintf("/ImageStore/a%s6b29fc40-ca47-1067-b31d-00dd01066%03d", chunkPath, n)
	}
	s.fails(413, codeTooLarge, "PUT", chunk(1), "1", "Content-Range", "bytes 0-0/9")
	s.ok("PUT", chunk(1), "12345678", "Content-Range", "bytes 0-7/8")
	s.fails(507, codeDiskFull, "PUT", chunk(2), "123", "Content-Range", "bytes 0-2/8")
	s.fails(503, codeNotReady, "PUT", chunk(3), "123", "Content-Range", "bytes 0-2/8")
}
