package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// storeURL is the ImageStore's own address, which the server has announced.
func (s *server) storeURL() string {
	s.t.Helper()
	s.eventually(func() bool { return strings.Contains(s.log.String(), "Stop with") })
	_, rest, ok := strings.Cut(s.log.String(), "ImageStore at ")
	require.True(s.t, ok, s.log.String())
	return strings.Fields(rest)[0]
}

// storeCall is one request to the ImageStore on the main address. It may be used by any goroutine.
func (s *server) storeCall(method, path string, body io.Reader, header ...string) (int, string, error) {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	req, err := http.NewRequest(method, s.url+"ImageStore"+path+sep+"api-version=6.5&timeout=60", body)
	if err != nil {
		return 0, "", err
	}
	req.SetBasicAuth("anybody", s.token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// store is storeCall that must be answered with status.
func (s *server) store(status int, method, path string, body []byte, header ...string) string {
	s.t.Helper()
	got, text, err := s.storeCall(method, path, bytes.NewReader(body), header...)
	require.NoError(s.t, err)
	require.Equal(s.t, status, got, "%s %s: %s", method, path, text)
	return text
}

// upload is a session and the bytes that it is to bring.
type upload struct {
	path, session string
	data          []byte
}

func newUpload(path string, data []byte) *upload { return &upload{path, uuid.NewString(), data} }

// put sends the bytes from up to to.
func (u *upload) put(s *server, from, to int) (int, string, error) {
	return s.storeCall("PUT", "/"+u.path+"/$/UploadChunk?session-id="+u.session, bytes.NewReader(u.data[from:to]),
		"Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(u.data)))
}

func (u *upload) mustPut(s *server, from, to int) {
	s.t.Helper()
	status, text, err := u.put(s, from, to)
	require.NoError(s.t, err)
	require.Equal(s.t, 200, status, text)
}

// missing is what the server says has not come: inclusive ranges. ok is false when it knows no such session.
func (u *upload) missing(s *server) (ranges [][2]int, ok bool) {
	s.t.Helper()
	status, text, err := s.storeCall("GET", "/$/GetUploadSession?session-id="+u.session, nil)
	require.NoError(s.t, err)
	if status == 404 {
		return nil, false
	}
	require.Equal(s.t, 200, status, text)
	var v struct {
		UploadSessions []struct {
			FileSize       string
			ExpectedRanges []struct{ StartPosition, EndPosition string }
		}
	}
	require.NoError(s.t, json.Unmarshal([]byte(text), &v))
	require.Equal(s.t, strconv.Itoa(len(u.data)), v.UploadSessions[0].FileSize)
	for _, r := range v.UploadSessions[0].ExpectedRanges {
		from, err := strconv.Atoi(r.StartPosition)
		require.NoError(s.t, err)
		to, err := strconv.Atoi(r.EndPosition)
		require.NoError(s.t, err)
		ranges = append(ranges, [2]int{from, to})
	}
	return ranges, true
}

func (u *upload) commit(s *server) (int, string, error) {
	return s.storeCall("POST", "/$/CommitUploadSession?session-id="+u.session, nil)
}

func (u *upload) mustCommit(s *server) {
	s.t.Helper()
	status, text, err := u.commit(s)
	require.NoError(s.t, err)
	require.Equal(s.t, 200, status, text)
}

// check holds the file on the disk against what was sent.
func (u *upload) check(s *server) {
	s.t.Helper()
	require.Equal(s.t, digest(u.data), digestOf(s.t, filepath.Join(s.root, u.path)))
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// The generated client of the API, unmodified, against both addresses.
func TestServiceFabricClient(t *testing.T) {
	s := start(t, "--imagestore-listen=127.0.0.1:0")
	own := s.storeURL()
	for _, address := range []string{own, strings.TrimSuffix(s.url, "/")} {
		out := s.python("imagestore_client.py", address)
		require.Contains(t, out, "ok "+digestOf(t, filepath.Join(s.root, "data", "big.bin")))
		require.NoError(t, os.RemoveAll(filepath.Join(s.root, "data")))
	}
	resp, err := client.Get(own + "/")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode, "clients look whether there is anything before they log in")
	for _, path := range []string{"/api/status", "/$/GetClusterVersion", "/files/x", "/login", "/ImageStoreX"} {
		resp, err := client.Get(own + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 404, resp.StatusCode, path)
	}
}

// curl, as people use it: a whole file, a chunk, a commit.
func TestImageStoreWithCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	s := start(t)
	curl := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "-u", "me:" + s.token, "-w", "%{http_code}"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(file, []byte("0123456789"), 0o600))
	at := s.url + "ImageStore/"
	require.Equal(t, "200", curl("-T", file, at+"a%2Fwhole?api-version=6.0&timeout=60"))
	id := uuid.NewString()
	require.Equal(t, "200", curl("-T", file, "-H", "Content-Range: bytes 0-9/10", at+"b/parts/$/UploadChunk?api-version=6.0&session-id="+id))
	require.Equal(t, "200", curl("-X", "POST", "-d", "", at+"$/CommitUploadSession?api-version=6.0&session-id="+id))
	require.Contains(t, curl(at+"b?api-version=6.0"), `"FileSize":"10"`)
	require.Contains(t, curl("-u", "me:wrong", at+"b?api-version=6.0"), "E_ACCESSDENIED")
	var model struct{ Content string }
	s.call("GET", "api/contents/b/parts?content=1", nil, &model)
	require.Equal(t, "0123456789", model.Content, "at once visible to notebooks")
}

// Two sessions on one path, a cut in the middle and its resumption, and a commit against a running read.
func TestUploadSessions_P7_P8(t *testing.T) {
	s := start(t)
	old, next := newUpload("d/f.bin", randomBytes(1, 8<<20)), newUpload("d/f.bin", randomBytes(2, 4<<20))
	const step = 1 << 20
	for at := 7 * step; at >= 0; at -= step {
		old.mustPut(s, at, at+step)
	}
	old.mustCommit(s)
	old.check(s)

	// A reader that has begun goes on with the old bytes.
	req, err := http.NewRequest("GET", s.url+"files/d/f.bin", nil)
	require.NoError(t, err)
	req.Header = s.bearer()
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	first := make([]byte, 1000)
	_, err = io.ReadFull(resp.Body, first)
	require.NoError(t, err)

	// A connection that ends in the middle of a chunk: nothing of the chunk counts.
	req, err = http.NewRequest("PUT", s.url+"ImageStore/d/f.bin/$/UploadChunk?api-version=6.0&session-id="+next.session,
		io.MultiReader(bytes.NewReader(next.data[:step/2]), iotest.ErrReader(errors.New("cut"))))
	require.NoError(t, err)
	req.ContentLength = step
	req.Header = s.bearer()
	req.Header.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", step-1, len(next.data)))
	_, err = client.Do(req)
	require.Error(t, err)
	next.mustPut(s, 2*step, 3*step)
	ranges, _ := next.missing(s)
	require.Equal(t, [][2]int{{0, 2*step - 1}, {3 * step, 4*step - 1}}, ranges)
	for _, r := range ranges {
		next.mustPut(s, r[0], r[1]+1)
	}
	other := newUpload("d/f.bin", []byte("the other session's"))
	other.mustPut(s, 0, len(other.data))
	next.mustCommit(s)
	next.check(s)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, digest(old.data), digest(append(first, rest...)))
	other.mustCommit(s)
	other.check(s)
}

// A session whose chunks do not come any more ends, and its bytes go from the disk.
func TestSessionsExpire_P8(t *testing.T) {
	t.Parallel() // it waits
	s := start(t, "--staging-ttl=1s")
	u := newUpload("f.bin", randomBytes(1, 1<<20))
	u.mustPut(s, 0, 1<<19)
	s.eventually(func() bool {
		entries, err := os.ReadDir(s.root)
		return err == nil && len(entries) == 0
	})
	_, ok := u.missing(s)
	require.False(t, ok)
	status, _, err := u.commit(s)
	require.NoError(t, err)
	require.Equal(t, 404, status)
}

// 5 GB of which little is sent: positions beyond 32 bits, and no disk for what has not come.
func TestSparseUpload_P8(t *testing.T) {
	s := start(t)
	const size = 5_000_000_000
	id := uuid.NewString()
	put := func(from int64, text string) {
		t.Helper()
		s.store(200, "PUT", "/sparse.bin/$/UploadChunk?session-id="+id, []byte(text),
			"Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+int64(len(text))-1, int64(size)))
	}
	put(size-5, "tail!")
	put(3_000_000_000, "middle")
	text := s.store(200, "GET", "/$/GetUploadSession?session-id="+id, nil)
	require.Contains(t, text, `{"StartPosition":"3000000006","EndPosition":"4999999994"}`)
	require.Contains(t, text, `"FileSize":"5000000000"`)
	require.Contains(t, s.store(409, "POST", "/$/CommitUploadSession?session-id="+id, nil), "0-2999999999")
	entries, err := os.ReadDir(s.root)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	info, err := entries[0].Info()
	require.NoError(t, err)
	require.EqualValues(t, size, info.Size())
	require.Less(t, info.Sys().(*syscall.Stat_t).Blocks*512, int64(1<<20))
	s.store(200, "DELETE", "/$/DeleteUploadSession?session-id="+id, nil)
	entries, err = os.ReadDir(s.root)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// A full disk is 507, for chunks and for whole files, and the old file stays. Cancelling frees the disk.
func TestImageStoreOnAFullDisk_P7(t *testing.T) {
	s := prepare(t)
	if err := mountSmall(s.root, 4<<20); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unmountSmall(s.root)) })
	s.run()
	t.Cleanup(func() { s.stop(syscall.SIGTERM) }) // before the unmount
	s.store(200, "PUT", "/f.bin", []byte("old"))
	big := newUpload("f.bin", randomBytes(1, 8<<20))
	for at := 0; ; at += 1 << 20 {
		status, text, err := big.put(s, at, at+1<<20)
		require.NoError(t, err)
		if status != 200 {
			require.Equal(t, 507, status, text)
			require.Contains(t, text, "ERROR_DISK_FULL")
			break
		}
	}
	require.Contains(t, s.store(507, "PUT", "/f.bin", big.data), "ERROR_DISK_FULL")
	require.Equal(t, digest([]byte("old")), digestOf(t, filepath.Join(s.root, "f.bin")))
	ranges, _ := big.missing(s)
	require.NotEmpty(t, ranges, "what has come is known")
	s.store(200, "DELETE", "/$/DeleteUploadSession?session-id="+big.session, nil)
	small := newUpload("f.bin", randomBytes(2, 3<<20))
	small.mustPut(s, 0, len(small.data))
	small.mustCommit(s)
	small.check(s)
}

// stormKills is how often the server is killed; E2E_KILLS=100 for the long form.
func stormKills(t *testing.T) int {
	text := os.Getenv("E2E_KILLS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// While uploads go on, eight chunks at a time, the server is killed again and again. Each client asks what is
// missing, sends it, commits; each file is at all times the old one or the new one, and at the end what was sent.
func TestServerKilledInUploads_P2_P7_P8(t *testing.T) {
	t.Parallel() // it waits
	s := start(t)
	rnd := rand.New(rand.NewPCG(8, 8))
	held := map[string]bool{"": true} // digests that the file may have; "" while there is none
	u := newUpload("d/f.bin", randomBytes(0, 4<<20))
	path := filepath.Join(s.root, u.path)
	for kill, files := 0, 0; kill < stormKills(t); {
		after := time.Duration(rnd.IntN(80)) * time.Millisecond
		killed := make(chan struct{})
		timer := time.AfterFunc(after, func() {
			_ = s.cmd.Process.Signal(syscall.SIGKILL)
			close(killed)
		})
		held[digest(u.data)] = true
		acked, committed := u.drive(s)
		if timer.Stop() { // all went before the kill
			require.True(t, committed)
			u.check(s)
			files++
			u = newUpload(u.path, randomBytes(uint64(files), 4<<20))
			continue
		}
		<-killed
		<-s.done
		kill++
		s.run()
		got := ""
		if _, err := os.Stat(path); err == nil {
			got = digestOf(t, path)
		}
		require.True(t, held[got], "after kill %d the file is neither old nor new", kill)
		ranges, ok := u.missing(s)
		if !ok && got == digest(u.data) { // it was committed, acknowledged or not
			files++
			u = newUpload(u.path, randomBytes(uint64(files), 4<<20))
			continue
		}
		require.False(t, committed, "an acknowledged commit is there")
		if acked > 0 {
			require.True(t, ok, "an acknowledged chunk keeps its session")
			var left int
			for _, r := range ranges {
				left += r[1] - r[0] + 1
			}
			require.LessOrEqual(t, left, len(u.data)-acked, "what was acknowledged is held")
		}
	}
	_, committed := u.drive(s)
	require.True(t, committed)
	u.check(s)
	entries, err := os.ReadDir(s.root)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left of what was cut: %v", entries)
}

// drive sends what is missing, eight chunks at a time, and commits, until the server dies. acked counts the bytes of
// this run that the server has taken.
func (u *upload) drive(s *server) (acked int, committed bool) {
	const step = 64 << 10
	ranges := [][2]int{{0, len(u.data) - 1}}
	if status, text, err := s.storeCall("GET", "/$/GetUploadSession?session-id="+u.session, nil); err != nil {
		return 0, false
	} else if status == 200 {
		var v struct {
			UploadSessions []struct {
				ExpectedRanges []struct{ StartPosition, EndPosition string }
			}
		}
		if json.Unmarshal([]byte(text), &v) != nil {
			return 0, false
		}
		ranges = nil
		for _, r := range v.UploadSessions[0].ExpectedRanges {
			from, _ := strconv.Atoi(r.StartPosition)
			to, _ := strconv.Atoi(r.EndPosition)
			ranges = append(ranges, [2]int{from, to})
		}
	}
	work := make(chan [2]int, len(u.data)/step+2*len(ranges)+1)
	for _, r := range ranges {
		for at := r[0]; at <= r[1]; at += step {
			work <- [2]int{at, min(at+step, r[1]+1)}
		}
	}
	close(work)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for w := range work {
				status, _, err := u.put(s, w[0], w[1])
				if err != nil || status != 200 {
					return
				}
				mu.Lock()
				acked += w[1] - w[0]
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	status, _, err := u.commit(s)
	return acked, err == nil && status == 200
}

// What JupyterLab has begun in numbered chunks is resumed by ranges, also after a kill.
func TestNotebookClientResumes_P8(t *testing.T) {
	s := start(t)
	require.Equal(t, 201, s.call("PUT", "api/contents/f.bin", chunk(1, "first,"), nil).StatusCode)
	s.stop(syscall.SIGKILL)
	s.run()
	var state struct {
		End     int
		Missing [][2]int
	}
	require.Equal(t, 200, s.call("GET", "api/contents/f.bin?upload=chunks", nil, &state).StatusCode)
	require.Equal(t, 6, state.End)
	header := s.bearer()
	header.Set("Content-Range", "bytes 6-11/12")
	a, err := s.ask("PUT", "api/contents/f.bin?upload=chunks", []byte("second"), header)
	require.NoError(t, err)
	require.Equal(t, 200, a.StatusCode, "%s", a.body)
	require.Equal(t, 200, s.call("POST", "api/contents/f.bin?upload=chunks&size=12", nil, nil).StatusCode)
	require.Equal(t, digest([]byte("first,second")), digestOf(t, filepath.Join(s.root, "f.bin")))
}

// Who has typed the token into a browser does not lend it to other sites' pages.
func TestBasicIsNoWayIn_S1_S3(t *testing.T) {
	s := start(t)
	header := func(password string, more ...string) http.Header {
		h := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+password))}}
		for i := 0; i+1 < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return h
	}
	for _, c := range []struct {
		path   string
		header http.Header
		status int
	}{
		{"ImageStore?api-version=6.0", header(s.token), 200},
		{"ImageStore?api-version=6.0", header("wrong"), 401},
		{"ImageStore?api-version=6.0", nil, 401},
		{"ImageStore?api-version=6.0", header(s.token, "Origin", "https://evil.example"), 403},
		{"ImageStore?api-version=6.0", header(s.token, "Sec-Fetch-Site", "cross-site"), 403},
		{"api/status", header(s.token), 403},
	} {
		a, err := s.ask("GET", c.path, nil, c.header)
		require.NoError(t, err)
		require.Equal(t, c.status, a.StatusCode, "%s %v: %s", c.path, c.header, a.body)
		require.Equal(t, c.status == 401, a.Header.Get("WWW-Authenticate") != "")
	}
}
