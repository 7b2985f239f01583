package adapters

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

func TestCollectAgainstAScriptedKernel(t *testing.T) {
	f := newFixture(t, nil)

	r := run(t, f, "print a\nstderr b\ndisplay text/html <b>\necho c", Limits{})
	require.Equal(t, "ok", r.Status)
	require.Equal(t, "a\nc\n", r.Stdout)
	require.Equal(t, "b\n", r.Stderr)
	require.Nil(t, r.Error)
	require.Equal(t, 1, r.Count)
	require.Len(t, r.Outputs, 2)
	require.False(t, r.Outputs[0].Value)
	require.JSONEq(t, `"<b>"`, string(r.Outputs[0].Data["text/html"]))
	require.True(t, r.Outputs[1].Value)
	require.JSONEq(t, `"c"`, string(r.Outputs[1].Data["text/plain"]))

	r = run(t, f, "print before\nerror ValueError no good", Limits{})
	require.Equal(t, "error", r.Status)
	require.Equal(t, "before\n", r.Stdout)
	require.Equal(t, &Failure{Name: "ValueError", Value: "no good", Traceback: "ValueError: no good"}, r.Error)
	require.False(t, r.Error.KernelDied())

	r = run(t, f, "print last words\ndie 3", Limits{})
	require.Equal(t, "last words\n", r.Stdout)
	require.True(t, r.Error.KernelDied(), "P6, P12")
	require.Contains(t, r.Error.Value, "exit code 3")
}

func TestCollectGivesTheIteratorsError(t *testing.T) {
	why := errors.New("why")
	r, err := Collect(func(yield func(kernel.Entry, error) bool) {
		_ = yield(said(t, "stream", `{"name":"stdout","text":"before"}`), nil) && yield(kernel.Entry{}, why)
	}, Limits{})
	require.ErrorIs(t, err, why)
	require.Equal(t, "before", r.Stdout)
}

// said is a message of a kernel.
func said(t testing.TB, kind, content string) kernel.Entry {
	t.Helper()
	header := json.RawMessage(`{"msg_id":"1","session":"k","msg_type":"` + kind + `"}`)
	m, err := kernel.NewMessage(kernel.IOPub, [4]json.RawMessage{header, json.RawMessage(`{}`), json.RawMessage(`{}`), json.RawMessage(content)}, nil)
	require.NoError(t, err)
	return kernel.Entry{Message: m}
}

func collected(t testing.TB, l Limits, kindsAndContents ...string) Result {
	t.Helper()
	c := NewCollector(l)
	for i := 0; i < len(kindsAndContents); i += 2 {
		c.Add(said(t, kindsAndContents[i], kindsAndContents[i+1]))
	}
	return c.Result()
}

func TestCollectUpdatesAndClears(t *testing.T) {
	r := collected(t, Limits{},
		"display_data", `{"data":{"text/plain":"1 %"},"metadata":{},"transient":{"display_id":"p"}}`,
		"display_data", `{"data":{"text/plain":"other"},"metadata":{}}`,
		"update_display_data", `{"data":{"text/plain":"99 %"},"metadata":{"a":1},"transient":{"display_id":"p"}}`,
		"update_display_data", `{"data":{"text/plain":"nobody"},"transient":{"display_id":"q"}}`,
		"update_display_data", `{"data":{"text/plain":"nobody"}}`,
	)
	require.Len(t, r.Outputs, 2)
	require.JSONEq(t, `"99 %"`, string(r.Outputs[0].Data["text/plain"]))
	require.JSONEq(t, `1`, string(r.Outputs[0].Metadata["a"]))
	require.JSONEq(t, `"other"`, string(r.Outputs[1].Data["text/plain"]))

	r = collected(t, Limits{},
		"stream", `{"name":"stdout","text":"log"}`,
		"display_data", `{"data":{"text/plain":"gone"}}`, "clear_output", `{"wait":false}`,
		"display_data", `{"data":{"text/plain":"replaced"}}`, "clear_output", `{"wait":true}`,
		"display_data", `{"data":{"text/plain":"stays"}}`, "clear_output", `{"wait":true}`)
	require.Equal(t, "log", r.Stdout)
	require.Len(t, r.Outputs, 1)
	require.JSONEq(t, `"stays"`, string(r.Outputs[0].Data["text/plain"]))
}

func TestCollectRepliesWithoutAnErrorMessage(t *testing.T) {
	r := collected(t, Limits{}, "execute_reply", `{"status":"aborted","execution_count":4}`)
	require.Equal(t, "aborted", r.Status)
	require.NotNil(t, r.Error)
	r = collected(t, Limits{}, "execute_reply", `{"status":"ok","user_expressions":{"x":{"status":"ok"}}}`)
	require.Nil(t, r.Error)
	require.JSONEq(t, `{"status":"ok"}`, string(r.UserExpressions["x"]))
}

func TestCollectIsBounded_P9(t *testing.T) {
	l := Limits{StreamBytes: 1000, RichBytes: 1000, RichOutputs: 3}
	var all []string
	for range 50 {
		all = append(all, "stream", `{"name":"stdout","text":"`+strings.Repeat("é", 100)+`"}`)
	}
	r := collected(t, l, append(all, "stream", `{"name":"stdout","text":"the end"}`)...)
	require.Less(t, len(r.Stdout), 1100)
	require.Contains(t, r.Stdout, "bytes left out")
	require.True(t, strings.HasPrefix(r.Stdout, "éé") && strings.HasSuffix(r.Stdout, "éthe end"))
	require.NotContains(t, r.Stdout, "\uFFFD")

	r = collected(t, l, "display_data", `{"data":{"text/plain":"`+strings.Repeat("x", 900)+`"},"transient":{"display_id":"p"}}`,
		"display_data", `{"data":{"text/plain":"`+strings.Repeat("x", 200)+`"}}`,
		"update_display_data", `{"data":{"text/plain":"`+strings.Repeat("y", 1200)+`"},"transient":{"display_id":"p"}}`,
		"display_data", `{"data":{"text/plain":"fits"}}`)
	require.Len(t, r.Outputs, 2)
	require.Equal(t, 1, r.LeftOut)
	require.Contains(t, string(r.Outputs[0].Data["text/plain"]), "xxx")

	r = collected(t, l, "display_data", `{}`, "display_data", `{}`, "display_data", `{}`, "display_data", `{}`)
	require.Len(t, r.Outputs, 3)
	require.Equal(t, 1, r.LeftOut)

	c := NewCollector(l)
	c.Add(kernel.Entry{Gap: &kernel.Gap{Dropped: 7}})
	c.Add(kernel.Entry{Gap: &kernel.Gap{}})
	require.EqualValues(t, 8, c.Result().Missed)
}

// What a flood leaves in memory is what its Limits say, however long it is.
func TestCollectMemoryIsFlat_P9(t *testing.T) {
	e := said(t, "stream", `{"name":"stdout","text":"`+strings.Repeat("x", 8000)+`"}`)
	c := NewCollector(Limits{StreamBytes: 100 << 10})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 2_000 { // 16 MB
		c.Add(e)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(2<<20))
	require.Less(t, len(c.Result().Stdout), 110<<10)
}

func TestCollectAnswersWhateverAKernelSays(t *testing.T) {
	r := collected(t, Limits{},
		"stream", `{"name":1,"text":2}`, "stream", `[]`, "display_data", `null`, "error", `{"traceback":"x","ename":"E"}`,
		"execute_reply", `{"status":"ok","user_expressions":[]}`, "comm_msg", `{}`)
	require.Equal(t, "ok", r.Status)
	require.Equal(t, "E", r.Error.Name)
}

func TestPlainText(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "\x1b[0;31mred\x1b[0m": "red", "\x1b[38;5;28;01mfrom\x1b[39;00m": "from",
		"a\x1b]0;title\x07b": "ab", "a\x1b]8;;http://x\x1b\\b": "ab", "\x1b(Bx": "x", "\x1b[?25lx": "x", "\x1b": "\x1b", "é\x1b[1mé": "éé",
	} {
		require.Equal(t, want, PlainText(in))
	}
}

func FuzzText(f *testing.F) {
	f.Add("", "", 1)
	f.Add(strings.Repeat("é", 10), "x", 7)
	f.Add("\x1b[31m", "\x1b]", 2)
	f.Fuzz(func(t *testing.T, a, b string, limit int) {
		limit = max(2, limit%1000)
		kept := newText(limit)
		for range 3 {
			kept.add(a)
			kept.add(b)
		}
		got := kept.String()
		whole := strings.Repeat(a+b, 3)
		if len(whole) <= kept.half {
			require.Equal(t, whole, got)
		}
		require.LessOrEqual(t, len(got), limit+60)
		require.LessOrEqual(t, cap(kept.tail), 8*limit+64)
		_ = PlainText(a + b)
	})
}
