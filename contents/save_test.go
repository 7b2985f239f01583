package contents

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// TestBadBodiesAreRefused_P13: each is a 400 that changes nothing and leaves nothing behind.
func TestBadBodiesAreRefused_P13(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("old.txt", "old")
	c.write("dir/x", "")
	for _, body := range []string{
		`{`, `[]`, `"x"`, `7`, `tru`, `{"type":"file","format":"text","content":"x"`, `{"type":"file","format":"text","content":"x`,
		`{"type":"file","format":"text","content":"x"} {}`, `{"type":7,"content":"x"}`, `{"type":["file"]}`, `{"format":{}}`,
		`{"type":"file","format":"text"}`, `{"type":"file","content":"x"}`, `{"type":"file","format":"json","content":"x"}`,
		`{"content":"x","format":"text"}`, `{"type":"file","format":"text","content":7}`, `{"type":"file","format":"text","content":null}`,
		`{"type":"file","format":"text","content":{"a":1}}`, `{"type":"file","format":"text","content":"x","content":"y"}`,
		`{"type":"file","format":"base64","content":"a"}`, `{"type":"file","format":"base64","content":"é"}`,
		`{"type":"file","format":"base64","content":"QQ==QQ=="}`, `{"content":"****","type":"file","format":"base64"}`,
		`{"type":"file","format":"text","content":"\ud800"}`, `{"type":"file","format":"text","content":"\ud800\n"}`,
		`{"type":"file","format":"text","content":"\udc00x"}`, `{"type":"file","format":"text","content":"\x"}`,
		"{\"type\":\"file\",\"format\":\"text\",\"content\":\"\xff\"}", "{\"type\":\"file\",\"format\":\"text\",\"content\":\"a\nb\"}",
		"{\"type\":\"file\",\"format\":\"text\",\"content\":\"\xe2\x82\"}", `{"type":"file","format":"text","content":"x","copy_from":"old.txt"}`,
		`{"type":"file","format":"text","content":"x","path":"../x"}`, `{"type":"file","format":"text","content":"x","path":7}`,
		`{"type":"file","format":"text","content":"x","chunk":0}`, `{"type":"file","format":"text","content":"x","chunk":-2}`,
		`{"type":"file","format":"text","content":"x","chunk":"1"}`, `{"type":"file","format":"text","content":"x","chunk":1.5}`,
		`{"type":"notebook","content":"x"}`, `{"type":"notebook","content":[]}`, `{"type":"notebook","content":{"nbformat":4,}}`,
		`{"type":"notebook","content":{"nbformat":4,"a":NaN}}`, `{"type":"notebook","content":{"nbformat":9}}`,
		`{"type":"notebook","format":"json","content":{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}}`,
		`{"x":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`, `{"x":nope}`, `{"type":"file",}`, `{"type" "file"}`, `{,}`,
		`{"type":"directory"}`,
	} {
		before := c.tree()
		c.refused(400, "PUT", "/api/contents/old.txt", body)
		require.Equal(t, before, c.tree(), body)
	}
	c.refused(400, "PUT", "/api/contents/dir", fileModel)
	c.refused(400, "PUT", "/api/contents", fileModel)
	c.refused(404, "PUT", "/api/contents/nowhere/a.txt", fileModel)
	c.refused(404, "PUT", "/api/contents/old.txt/a.txt", fileModel)
	c.refused(404, "PUT", "/api/contents/nowhere/dir", `{"type":"directory"}`)
	c.refused(400, "PATCH", "/api/contents/old.txt", "")
	c.refused(400, "PATCH", "/api/contents/old.txt", `{"path":7}`)
	c.refused(400, "POST", "/api/contents", `{"type":7}`)
	require.Contains(t, c.refused(400, "PUT", "/api/contents/old.txt", `{"format":7}`), "format")
}

func TestWhatSaveFillsIn(t *testing.T) {
	c := serve(t, newDir(t))
	require.Equal(t, "notebook", c.model(201, "PUT", "/api/contents/a.ipynb", `{"path":"a.ipynb"}`)["type"])
	require.Equal(t, "{\n \"cells\": [],\n \"metadata\": {},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n", c.read("a.ipynb"))
	require.Equal(t, []string{"a-checkpoint.ipynb"}, c.names(".ipynb_checkpoints"))
	require.Equal(t, "file", c.model(201, "PUT", "/api/contents/a.txt", `{"name":"a.txt"}`)["type"])
	require.Equal(t, "", c.read("a.txt"))
	require.Equal(t, "directory", c.model(201, "PUT", "/api/contents/d", `{"type":"directory"}`)["type"])
	require.Equal(t, "directory", c.model(201, "PUT", "/api/contents/d", `{"type":"directory"}`)["type"])
	require.Equal(t, "d/untitled", c.model(201, "PUT", "/api/contents/d", "")["path"])
	require.Equal(t, "x", c.model(201, "PUT", "/api/contents/d/x", `{"type":"thing","format":"text","content":"é\ud83d\ude00\u0041\/"}`)["name"])
	require.Equal(t, "é😀A/", c.read("d/x"))
}

func TestNotebookOverHTTP(t *testing.T) {
	c := serve(t, newDir(t))
	const nb = `{"nbformat":4,"nbformat_minor":5,"metadata":{"x":1.0,"big":12345678901234567890},"cells":[{"id":"a","cell_type":"raw","metadata":{},"source":"a\nb"}]}`
	m := c.model(201, "PUT", "/api/contents/a.ipynb", `{"content":`+nb+`,"type":"notebook"}`)
	require.NotContains(t, m, "message")
	require.Contains(t, c.read("a.ipynb"), "\"source\": [\n    \"a\\n\",\n    \"b\"\n   ]")
	_, body := c.do("GET", "/api/contents/a.ipynb?hash=1", "")
	require.Contains(t, body, `"x":1.0}`)
	require.Contains(t, body, `"big":12345678901234567890`)
	require.Contains(t, body, `"source":"a\nb"`)
	require.Contains(t, body, `"format":"json","mimetype":null`)

	m = c.model(200, "PUT", "/api/contents/a.ipynb", `{"type":"notebook","content":{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":"wrong"}]}}`)
	require.Contains(t, m["message"], "Notebook validation failed: cells[0].cell_type")
	m = c.model(200, "GET", "/api/contents/a.ipynb", "")
	require.Contains(t, m["message"], "Notebook validation failed")
	require.NotNil(t, m["content"])

	c.write("bad.ipynb", "{not json")
	require.Contains(t, c.refused(400, "GET", "/api/contents/bad.ipynb", ""), "unreadable notebook")
	require.Equal(t, "{not json", c.model(200, "GET", "/api/contents/bad.ipynb?type=file", "")["content"])
	require.Nil(t, c.model(200, "GET", "/api/contents/bad.ipynb?content=0", "")["content"])
}

func TestBodyLimit(t *testing.T) {
	c := serve(t, newDir(t, func(c *Config) { c.MaxBody = 1000 }))
	long := `{"type":"file","format":"text","content":"` + strings.Repeat("x", 2000) + `"}`
	c.refused(413, "PUT", "/api/contents/a.txt", long)
	d := newDir(t, func(c *Config) { c.MaxBody = 1000 })
	_, _, err := d.Save(context.Background(), mustPath("a.txt"), NewIncoming(io.LimitReader(neverEnding('x'), 500), 1000))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Empty(t, c.names("."))
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func mustPath(s string) Path {
	p, err := ParsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

// TestSaveIsWholeOrAbsent_P7: a body that is cut at any byte leaves the old file and no trace.
func TestSaveIsWholeOrAbsent_P7(t *testing.T) {
	d := newDir(t)
	c := serve(t, d)
	c.write("a.txt", "old")
	body := `{"type":"file","format":"base64","content":"` + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("new"), 50)) + `"}`
	for n := range len(body) {
		cut := io.MultiReader(strings.NewReader(body[:n]), iotest.ErrReader(errors.New("connection reset")))
		_, _, err := d.Save(context.Background(), mustPath("a.txt"), NewIncoming(cut, 1<<20))
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	require.Equal(t, map[string]string{"a.txt": "old"}, c.tree())
	for _, r := range []io.Reader{strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body)), iotest.HalfReader(strings.NewReader(body))} {
		_, _, err := d.Save(context.Background(), mustPath("a.txt"), NewIncoming(r, 1<<20))
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("new", 50), c.read("a.txt"))
		c.write("a.txt", "old")
	}
}

func TestSaveKeepsMode(t *testing.T) {
	d := newDir(t)
	c := serve(t, d)
	c.write("run.sh", "old")
	require.NoError(t, os.Chmod(filepath.Join(d.root, "run.sh"), 0o751))
	c.model(200, "PUT", "/api/contents/run.sh", fileModel)
	info, err := os.Stat(filepath.Join(d.root, "run.sh"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o751), info.Mode())
}

// TestDraftWithoutUnnamedFiles: file systems without O_TMPFILE take the same steps with a hidden name.
func TestDraftWithoutUnnamedFiles(t *testing.T) {
	d := newDir(t)
	c := serve(t, d)
	for _, fresh := range []bool{true, false} {
		dr, err := d.newDraft(mustPath("a.txt"))
		require.NoError(t, err)
		require.NoError(t, dr.file.Close())
		dr.temp = tempName()
		dr.file, err = dr.folder.open(dr.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		require.NoError(t, err)
		_, err = fmt.Fprintf(dr, "fresh %v", fresh)
		require.NoError(t, err)
		require.NoError(t, dr.commit(fresh))
		dr.discard()
		require.Equal(t, map[string]string{"a.txt": fmt.Sprintf("fresh %v", fresh)}, c.tree())
	}
}

// TestFullDisk_P7: 507, and the old file is as it was.
func TestFullDisk_P7(t *testing.T) {
	small := t.TempDir()
	if err := mountSmall(small, 1<<20); err != nil {
		t.Skipf("no small file system could be mounted: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unmount(small)) })
	d := newDir(t, func(c *Config) { c.RootDir = small })
	t.Cleanup(func() { d.Close() })
	c := serve(t, d)
	c.write("a.txt", "old")
	big := `{"type":"file","format":"text","content":"` + strings.Repeat("x", 2<<20) + `"}`
	c.refused(507, "PUT", "/api/contents/a.txt", big)
	c.refused(507, "PUT", "/api/contents/b.txt", big)
	c.refused(507, "PUT", "/api/contents/c.txt", strings.Replace(big, `"content"`, `"chunk":1,"content"`, 1))
	require.Equal(t, "old", c.read("a.txt"))
	require.Equal(t, []string{"a.txt"}, c.names("."))
	c.model(200, "PUT", "/api/contents/a.txt", fileModel)
}

// TestLargeBodiesAreStreamed: 32 MiB up and down cost a few buffers, not copies of the body.
func TestLargeBodiesAreStreamed(t *testing.T) {
	d := newDir(t)
	const size = 32 << 20
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, head := range []string{`{"type":"file","format":"text","content":"`, `{"type":"file","format":"base64","content":"`} {
		body := io.MultiReader(strings.NewReader(head), io.LimitReader(neverEnding('x'), size), strings.NewReader(`"}`))
		require.Less(t, allocated(func() {
			_, _, err := d.Save(context.Background(), mustPath("a"), NewIncoming(body, size))
			require.NoError(t, err)
		}), uint64(8<<20))
		for _, format := range []Format{FormatText, FormatBase64, ""} {
			require.Less(t, allocated(func() {
				m, err := d.Get(context.Background(), mustPath("a"), GetOptions{Content: true, Hash: true, Format: format})
				if err != nil {
					require.Equal(t, FormatText, format, "what was decoded from base64 is no text")
					return
				}
				require.NoError(t, m.WriteJSON(io.Discard))
				require.NoError(t, m.Close())
			}), uint64(8<<20))
		}
	}
}

// FuzzIncoming compares the streaming reader with encoding/json: what both take means the same.
func FuzzIncoming(f *testing.F) {
	for _, s := range []string{fileModel, `{"content":"aGFsbG8=","format":"base64","type":"file"}`, `{"type":"notebook","content":{"nbformat":4}}`,
		`{"chunk":-1,"content":"\ud83d\ude00","path":"a"}`, ` { "content" : null , "x":[1,{"a":"]"}] } `, `{"content":"\u00e9\"\\\/\b"}`, `null`, ``} {
		f.Add([]byte(s), 7)
	}
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		var got bytes.Buffer
		cut = max(0, min(cut, len(body)))
		in := NewIncoming(io.MultiReader(bytes.NewReader(body[:cut]), bytes.NewReader(body[cut:])), 1<<20)
		err := in.decode(func() (io.Writer, error) { return &got, nil })
		var want struct {
			Type, Format, Path string
			Chunk              *int
			Content            json.RawMessage
		}
		if err != nil {
			require.NotEqual(t, fault.Internal, fault.KindOf(err), "%v", err)
			return
		}
		if in.fields == 0 {
			return
		}
		var all map[string]json.RawMessage
		if json.Unmarshal(body, &all) != nil { // what is in a notebook is checked later
			require.True(t, in.raw != nil, "taken: %q", body)
			return
		}
		for key, to := range map[string]any{"type": &want.Type, "format": &want.Format, "path": &want.Path, "chunk": &want.Chunk} {
			if raw, ok := all[key]; ok {
				require.NoError(t, json.Unmarshal(raw, to))
			}
		}
		require.Equal(t, want.Type, string(in.Type))
		require.Equal(t, want.Format, string(in.Format))
		require.Equal(t, want.Path, in.Path)
		require.Equal(t, want.Chunk, in.Chunk)
		var text string
		if in.packed {
			require.NoError(t, json.Unmarshal(all["content"], &text))
			require.Equal(t, text, got.String())
		}
	})
}

// FuzzStringsBothWays: a file's bytes survive a trip through JSON and back.
func FuzzStringsBothWays(f *testing.F) {
	f.Add([]byte("a\"\\\n\t\x00\x1f\x7fé😀"))
	f.Add([]byte{0xff, 0xfe})
	f.Fuzz(func(t *testing.T, b []byte) {
		var check utf8Check
		for i := range b {
			_, _ = check.Write(b[i : i+1])
		}
		require.Equal(t, bytes.Equal([]byte(strings.ToValidUTF8(string(b), "")), b), check.ok())
		for format, write := range map[Format]func(io.Writer, io.Reader) error{FormatText: writeText, FormatBase64: writeBase64} {
			if format == FormatText && !check.ok() {
				continue
			}
			var text, back bytes.Buffer
			require.NoError(t, write(&text, iotest.HalfReader(bytes.NewReader(b))))
			require.True(t, json.Valid(text.Bytes()))
			in := NewIncoming(strings.NewReader(`{"format":"`+string(format)+`","content":`+text.String()+`}`), 1<<20)
			require.NoError(t, in.decode(func() (io.Writer, error) { return &back, nil }))
			require.Equal(t, string(b), back.String())
		}
	})
}

// TestSmallSavesAreSmall: many users save small files at the same time.
func TestSmallSavesAreSmall(t *testing.T) {
	d := newDir(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const saves = 50
	for range saves {
		_, _, err := d.Save(context.Background(), mustPath("a"), NewIncoming(strings.NewReader(fileModel), 1<<20))
		require.NoError(t, err)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, (after.TotalAlloc-before.TotalAlloc)/saves, uint64(64<<10), "bytes a save")
}
