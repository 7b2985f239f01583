package contents

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The sizes are those of the figures that the README compares with jupyter_server.
const benchBytes = 50 << 20

func benchText() []byte {
	line := []byte("0.123456789,1.5,\"näme\",-3,some words of a table with many rows of about eighty bytes\n")
	return bytes.Repeat(line, benchBytes/len(line)+1)[:benchBytes]
}

func fillDir(b *testing.B, dir string, n int) {
	b.Helper()
	for i := range n {
		require.NoError(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("some file name %06d.csv", i)), nil, 0o644))
	}
}

func (c *client) fetch(b *testing.B, path string) int64 {
	resp, err := c.http.Get(c.url + path)
	require.NoError(b, err)
	n, err := io.Copy(io.Discard, resp.Body)
	require.NoError(b, err)
	require.NoError(b, resp.Body.Close())
	require.Equal(b, 200, resp.StatusCode)
	return n
}

func benchListing(b *testing.B, n int) {
	d := newDir(b)
	fillDir(b, d.root, n)
	c := serve(b, d)
	b.ResetTimer()
	for range b.N {
		b.SetBytes(c.fetch(b, "/api/contents"))
	}
}

func BenchmarkList100(b *testing.B)    { benchListing(b, 100) }
func BenchmarkList100000(b *testing.B) { benchListing(b, 100_000) }

func benchUpload(b *testing.B, body string) {
	c := serve(b, newDir(b))
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		req, err := http.NewRequest("PUT", c.url+"/api/contents/a.bin", strings.NewReader(body))
		require.NoError(b, err)
		resp, err := c.http.Do(req)
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(b, err)
		require.NoError(b, resp.Body.Close())
		require.Less(b, resp.StatusCode, 300)
	}
}

func BenchmarkUploadText(b *testing.B) {
	var body bytes.Buffer
	body.WriteString(`{"type":"file","format":"text","content":`)
	require.NoError(b, writeText(&body, bytes.NewReader(benchText())))
	body.WriteString(`}`)
	benchUpload(b, body.String())
}

func BenchmarkUploadBase64(b *testing.B) {
	benchUpload(b, `{"type":"file","format":"base64","content":"`+base64.StdEncoding.EncodeToString(benchText())+`"}`)
}

// The order in which Python's clients write it: the format is known only when the content has passed.
func BenchmarkUploadBase64FormatLast(b *testing.B) {
	benchUpload(b, `{"content":"`+base64.StdEncoding.EncodeToString(benchText())+`","format":"base64","type":"file"}`)
}

func benchDownload(b *testing.B, path string) {
	d := newDir(b)
	require.NoError(b, os.WriteFile(filepath.Join(d.root, "a.bin"), benchText(), 0o644))
	c := serve(b, d)
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		c.fetch(b, path)
	}
}

func BenchmarkDownloadText(b *testing.B)   { benchDownload(b, "/api/contents/a.bin") }
func BenchmarkDownloadBase64(b *testing.B) { benchDownload(b, "/api/contents/a.bin?format=base64") }
func BenchmarkDownloadHash(b *testing.B)   { benchDownload(b, "/api/contents/a.bin?hash=1") }
func BenchmarkDownloadRaw(b *testing.B)    { benchDownload(b, "/files/a.bin") }

func BenchmarkGetSmall(b *testing.B) {
	d := newDir(b)
	require.NoError(b, os.WriteFile(filepath.Join(d.root, "a.txt"), []byte("x"), 0o644))
	c := serve(b, d)
	for range b.N {
		c.fetch(b, "/api/contents/a.txt")
	}
}
