package contents

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func chunk(n int, text string) string {
	return fmt.Sprintf(`{"type":"file","format":"base64","name":"a","chunk":%d,"content":%q}`, n, base64.StdEncoding.EncodeToString([]byte(text)))
}

func (c *client) chunk(status, n int, text string) string {
	c.t.Helper()
	resp, body := c.do("PUT", "/api/contents/a.bin", chunk(n, text))
	require.Equal(c.t, status, resp.StatusCode, "chunk %d: %s", n, body)
	return body
}

// TestChunks_P8: the name appears with the last chunk, repeats are harmless, gaps are named.
func TestChunks_P8(t *testing.T) {
	c := serve(t, newDir(t))
	require.Contains(t, c.chunk(409, 2, "x"), "chunk 1 of")
	require.Contains(t, c.chunk(409, -1, "x"), "chunk 1 of")
	require.Contains(t, c.chunk(201, 1, "one,"), `"size":4,`)
	c.chunk(201, 1, "one,")
	require.Contains(t, c.chunk(409, 3, "x"), "chunk 2 of")
	require.Contains(t, c.chunk(201, 2, "two,"), `"size":8,`)
	c.chunk(201, 2, "two,")
	c.chunk(201, 1, "one,")
	c.chunk(201, 3, "three,")
	require.Empty(t, c.model(200, "GET", "/api/contents", "")["content"])
	c.refused(404, "GET", "/files/a.bin", "")
	c.chunk(201, -1, "end")
	require.Equal(t, map[string]string{"a.bin": "one,two,three,end"}, c.tree())
	c.chunk(200, -1, "end")
	c.chunk(409, -1, "End")
	require.Equal(t, "one,two,three,end", c.read("a.bin"))

	c.chunk(200, 1, "new ")
	require.Equal(t, "one,two,three,end", c.read("a.bin"), "the old file stays until the new one is whole")
	c.chunk(200, -1, "file")
	require.Equal(t, map[string]string{"a.bin": "new file"}, c.tree())
}

// TestChunksOfAChangedFile_P8: a client that starts again after a change gets its new file, or is told to.
func TestChunksOfAChangedFile_P8(t *testing.T) {
	c := serve(t, newDir(t))
	for i, text := range []string{"a", "b", "c"} {
		c.chunk(201, i+1, text)
	}
	c.chunk(201, 1, "a")
	c.chunk(201, 2, "B")
	c.chunk(409, 4, "d")
	c.chunk(201, -1, "C")
	require.Equal(t, "aBC", c.read("a.bin"))

	for i, text := range []string{"a", "b", "c"} {
		c.chunk(200, i+1, text)
	}
	c.chunk(409, 3, "x")
	c.chunk(200, 1, "A")
	c.chunk(200, -1, "Z")
	require.Equal(t, "AZ", c.read("a.bin"))

	for i, text := range []string{"a", "b", "c"} {
		c.chunk(200, i+1, text)
	}
	c.chunk(200, 1, "a")
	require.Contains(t, c.chunk(409, -1, "end"), "send the file again")
	require.Equal(t, "AZ", c.read("a.bin"), "what could be either file is neither")
	c.chunk(200, 1, "a")
	c.chunk(200, -1, "end")
	require.Equal(t, map[string]string{"a.bin": "aend"}, c.tree())
}

// TestChunksSurviveARestart_P8: the next server goes on where the last one was killed.
func TestChunksSurviveARestart_P8(t *testing.T) {
	d := newDir(t)
	c := serve(t, d)
	c.chunk(201, 1, "a")
	c.chunk(201, 2, "bx")
	c.chunk(201, 1, "a")
	c.chunk(201, 2, "b")
	c = serve(t, newDir(t, func(c *Config) { c.RootDir = d.root }))
	c.chunk(201, 2, "b")
	c.chunk(201, 3, "")
	c = serve(t, newDir(t, func(c *Config) { c.RootDir = d.root }))
	c.chunk(201, 4, "c")
	c.chunk(201, -1, "d")
	require.Equal(t, map[string]string{"a.bin": "abcd"}, c.tree())
}

func TestBadChunks(t *testing.T) {
	c := serve(t, newDir(t))
	for _, body := range []string{
		`{"type":"notebook","format":"json","chunk":1,"content":{}}`, `{"type":"directory","chunk":1}`, `{"chunk":1,"content":"x","format":"text"}`,
		`{"type":"file","chunk":1,"content":"x"}`, `{"type":"file","chunk":1,"format":"text"}`, `{"type":"file","chunk":1,"format":"base64","content":"x"}`,
	} {
		c.refused(400, "PUT", "/api/contents/a.bin", body)
	}
	require.Empty(t, c.tree())
}

func TestChunksAtTheSameTime(t *testing.T) {
	c := serve(t, newDir(t))
	c.chunk(201, 1, "1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { c.chunk(201, 2, strings.Repeat("2", 1000)) })
	}
	wg.Wait()
	for range 8 {
		wg.Go(func() {
			resp, _ := c.do("PUT", "/api/contents/a.bin", chunk(-1, "3"))
			require.Contains(t, []int{200, 201}, resp.StatusCode)
		})
	}
	wg.Wait()
	require.Equal(t, map[string]string{"a.bin": "1" + strings.Repeat("2", 1000) + "3"}, c.tree())
}
