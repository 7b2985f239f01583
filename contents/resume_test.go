package contents

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// TestResumeByRange_P8: a client asks what is missing, sends it, and commits.
func TestResumeByRange_P8(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("d/x", "")
	put := func(status int, path, span, body string) string {
		t.Helper()
		resp, text := c.do("PUT", path, body, "Content-Range", span)
		require.Equal(t, status, resp.StatusCode, text)
		return text
	}
	const at = "/api/contents/d/big.bin?upload=mine-1"
	require.Contains(t, put(200, at, "bytes 6-9/10", "6789"), `"missing":[[0,5]]`)
	put(200, at, "bytes 6-9/10", "6789")
	put(409, at, "bytes 6-9/10", "678x")
	put(409, at, "bytes 0-1/11", "01")
	put(400, at, "bytes 0-1/10", "012")
	put(400, at, "bytes 0-10/10", "01234567890")
	put(400, at, "", "01234567890")
	put(400, "/api/contents/d/big.bin?upload=", "bytes 0-1/10", "01")
	put(400, "/api/contents/d/big.bin?upload=a/b", "bytes 0-1/10", "01")
	put(409, "/api/contents/other.bin?upload=mine-1", "bytes 0-1/10", "01")
	c.refused(404, "GET", "/files/d/big.bin", "")
	m := c.model(200, "GET", at, "")
	require.Equal(t, "mine-1", m["id"])
	require.EqualValues(t, 10, m["size"])
	require.EqualValues(t, 4, m["received"])
	require.Equal(t, []any{[]any{0.0, 5.0}}, m["missing"])
	require.Len(t, c.model(200, "GET", "/api/contents/d?upload=", "")["uploads"], 1)
	require.Contains(t, c.refused(409, "POST", at, ""), "bytes 0-5 are missing")
	c.refused(404, "GET", "/api/contents/x?upload=mine-1", "")
	c.refused(404, "POST", "/api/contents/x?upload=other", "")
	c.refused(400, "POST", "/api/contents/x?upload=", "")
	put(200, at, "bytes 0-5/10", "012345")
	require.Equal(t, "d/big.bin", c.model(200, "POST", at, "")["path"])
	require.Equal(t, "0123456789", c.read("d/big.bin"))
	c.refused(404, "POST", at, "")
	put(200, at, "bytes */0", "")
	resp, _ := c.do("DELETE", at, "")
	require.Equal(t, 204, resp.StatusCode)
	c.refused(404, "DELETE", at, "")
}

// TestResumeNumberedChunks_P8: what JupyterLab has begun can be finished by ranges.
func TestResumeNumberedChunks_P8(t *testing.T) {
	c := serve(t, newDir(t))
	c.chunk(201, 1, "one,")
	c.chunk(201, 2, "two,")
	const at = "/api/contents/a.bin?upload=chunks"
	m := c.model(200, "GET", at, "")
	require.Nil(t, m["size"])
	require.EqualValues(t, 8, m["end"])
	resp, text := c.do("PUT", at, "ee", "Content-Range", "bytes 11-12/13")
	require.Equal(t, 200, resp.StatusCode, text)
	require.Contains(t, text, `"missing":[[8,10]]`)
	c.refused(409, "POST", at, "")
	resp, text = c.do("PUT", at, "thr", "Content-Range", "bytes 8-10/*")
	require.Equal(t, 200, resp.StatusCode, text)
	c.refused(409, "POST", at+"&size=14", "")
	c.refused(400, "POST", at+"&size=-1", "")
	c.model(200, "POST", at+"&size=13", "")
	require.Equal(t, "one,two,three", c.read("a.bin"))
}

func TestExactBody(t *testing.T) {
	c := serve(t, newDir(t))
	for _, body := range []string{"0123", "01"} { // without Content-Length
		req, err := newChunked(c, "/api/contents/a?upload=1", body)
		require.NoError(t, err)
		require.Equal(t, 400, req)
	}
	require.Equal(t, []any{[]any{0.0, 8.0}}, c.model(200, "GET", "/api/contents/a?upload=1", "")["missing"])
}

func newChunked(c *client, path, body string) (int, error) {
	req, err := http.NewRequest("PUT", c.url+path, struct{ *strings.Reader }{strings.NewReader(body)})
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Range", "bytes 0-2/9")
	req.ContentLength = -1
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-1/2", "bytes 300-5000/20000", "bytes */0", "bytes 0-0/*", "", "bytes", "bytes 0--1/0", "bytes 1-0/5",
		"bytes +1-2/5", "bytes 0-9223372036854775807/9223372036854775807", "bits 0-1/2", "bytes 0-1/2/3", "bytes 0-1-2/9", "bytes  0-1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, size, err := ParseContentRange(s)
		if err != nil {
			kindOf(t, fault.Invalid, err)
			return
		}
		require.LessOrEqual(t, int64(0), r.From)
		require.LessOrEqual(t, r.From, r.To)
		again := fmt.Sprintf("bytes %d-%d/%d", r.From, r.To-1, size)
		switch {
		case r.Len() == 0:
			again = fmt.Sprintf("bytes */%d", size)
			require.GreaterOrEqual(t, size, int64(0))
		case size == UnknownSize:
			again = fmt.Sprintf("bytes %d-%d/*", r.From, r.To-1)
		default:
			require.LessOrEqual(t, r.To, size)
		}
		r2, size2, err := ParseContentRange(again)
		require.NoError(t, err)
		require.Equal(t, r, r2)
		require.Equal(t, size, size2)
	})
}
