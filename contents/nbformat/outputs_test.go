package nbformat

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// message is one message of a kernel: its type and its content.
type message [2]string

func play(o *Outputs, messages ...message) {
	for _, m := range messages {
		if c, ok := ParseChange(m[0], []byte(m[1])); ok {
			o.Apply(c)
		}
	}
}

func text(name, s string) message { // of a stream
	b, _ := json.Marshal(map[string]string{"name": name, "text": s})
	return message{"stream", string(b)}
}

func display(id, value string) message {
	return message{"display_data", fmt.Sprintf(`{"data":{"text/plain":%q},"metadata":{},"transient":{"display_id":%q}}`, value, id)}
}

func update(id, value string) message {
	return message{"update_display_data", display(id, value)[1]}
}

func shown(value string) string {
	return fmt.Sprintf(`{"output_type":"display_data","data":{"text/plain":%q},"metadata":{}}`, value)
}

func stdout(s string) string {
	return fmt.Sprintf(`{"output_type":"stream","name":"stdout","text":%q}`, s)
}

const megabyte = 1 << 20

func TestOutputsAreMadeAsJupyterLabMakesThem(t *testing.T) {
	for name, c := range map[string]struct {
		said []message
		want []string
	}{
		"nothing":                       {nil, nil},
		"other messages change nothing": {[]message{{"status", `{"execution_state":"busy"}`}, {"comm_msg", `{}`}}, nil},
		"one stream is one output":      {[]message{text("stdout", "a\n"), text("stdout", "b"), text("stdout", "c\n")}, []string{stdout("a\nbc\n")}},
		"streams of two names": {
			[]message{text("stdout", "a"), text("stderr", "b"), text("stdout", "c")},
			[]string{stdout("a"), `{"output_type":"stream","name":"stderr","text":"b"}`, stdout("c")},
		},
		"an output between ends a stream": {[]message{text("stdout", "a"), display("", "x"), text("stdout", "b")}, []string{stdout("a"), shown("x"), stdout("b")}},
		"a progress bar is its last line": {[]message{text("stdout", "\r 10%"), text("stdout", "\r 20%"), text("stdout", "\r100%\n")}, []string{stdout("100%\n")}},
		"a result": {
			[]message{{"execute_result", `{"data":{"text/plain":["4","2"],"application/json":[1.0]},"metadata":{"a":1},"execution_count":3,"transient":{}}`}},
			[]string{`{"output_type":"execute_result","data":{"text/plain":"42","application/json":[1.0]},"metadata":{"a":1},"execution_count":3}`},
		},
		"an error": {
			[]message{{"error", `{"ename":"E","evalue":"v","traceback":["1","2"],"execution_count":3}`}},
			[]string{`{"output_type":"error","ename":"E","evalue":"v","traceback":["1","2"]}`},
		},
		"no metadata": {
			[]message{{"display_data", `{"data":{"image/png":"AAAA\n"}}`}},
			[]string{`{"output_type":"display_data","data":{"image/png":"AAAA\n"},"metadata":{}}`},
		},
		"clear":                      {[]message{text("stdout", "a"), {"clear_output", `{"wait":false}`}}, nil},
		"clear and go on":            {[]message{text("stdout", "a"), {"clear_output", `{}`}, text("stdout", "b")}, []string{stdout("b")}},
		"clear waits":                {[]message{text("stdout", "a"), {"clear_output", `{"wait":true}`}}, []string{stdout("a")}},
		"clear waited":               {[]message{text("stdout", "a"), {"clear_output", `{"wait":true}`}, text("stdout", "b"), text("stdout", "c")}, []string{stdout("bc")}},
		"a display is updated":       {[]message{display("d", "1"), text("stdout", "a"), update("d", "2")}, []string{shown("2"), stdout("a")}},
		"all displays of an id":      {[]message{display("d", "1"), display("e", "x"), display("d", "2"), update("d", "3")}, []string{shown("3"), shown("x"), shown("3")}},
		"a display again updates":    {[]message{display("d", "1"), display("d", "2")}, []string{shown("2"), shown("2")}},
		"an update of nothing":       {[]message{update("d", "1")}, nil},
		"an update after clear":      {[]message{display("d", "1"), {"clear_output", `{}`}, update("d", "2")}, nil},
		"an update waits for no one": {[]message{display("d", "1"), {"clear_output", `{"wait":true}`}, update("d", "2")}, []string{shown("2")}},
		"a broken output says so": {
			[]message{{"display_data", `{"data":{"text/plain":7}}`}},
			[]string{`{"output_type":"stream","name":"stderr","text":"[nbserv] an output cannot be shown: display_data.data.text/plain: should be a string or an array of strings, not a number\n"}`},
		},
		"what is not JSON says so": {
			[]message{{"error", `{"ename"`}},
			[]string{`{"output_type":"stream","name":"stderr","text":"[nbserv] an output of the kind error cannot be shown: a colon should follow a key at byte 8\n"}`},
		},
		"NaN is null": {
			[]message{{"display_data", `{"data":{"application/json":[NaN]},"metadata":{}}`}},
			[]string{`{"output_type":"display_data","data":{"application/json":[null]},"metadata":{}}`},
		},
	} {
		o := NewOutputs(megabyte)
		play(o, c.said...)
		got := string(o.AppendJSON(nil))
		require.JSONEq(t, "["+strings.Join(c.want, ",")+"]", got, name)
		require.Equal(t, o.Digest(), digestFromPage(t, got), name)
		require.Equal(t, got, string(again(t, o).AppendJSON(nil)), name)
		require.Equal(t, o.Digest(), again(t, o).Digest(), name)
	}
}

func TestPromptsAndAnswers(t *testing.T) {
	o := NewOutputs(megabyte)
	play(o, text("stdout", "hello\n"))
	before := o.Digest()
	o.Prompt("name:")
	require.JSONEq(t, `[`+stdout("hello\n")+`,{"output_type":"stream","name":"stdin","text":"name:"}]`, string(o.AppendJSON(nil)))
	require.Equal(t, before, o.Digest(), "what was typed is no kernel's output")
	o = again(t, o)
	play(o, text("stdout", "said before, come late\n"))
	require.JSONEq(t, `[`+stdout("hello\nsaid before, come late\n")+`,{"output_type":"stream","name":"stdin","text":"name:"}]`, string(o.AppendJSON(nil)))
	o.Answer("bob")
	play(o, text("stdout", "hi bob\n"))
	require.JSONEq(t, `[`+stdout("hello\nsaid before, come late\n")+`,{"output_type":"stream","name":"stdin","text":"name: bob\n"},`+stdout("hi bob\n")+`]`,
		string(o.AppendJSON(nil)))
	require.Equal(t, o.Digest(), digestFromPage(t, string(o.AppendJSON(nil))))
	o.Answer("nobody asked")
	require.NotContains(t, string(o.AppendJSON(nil)), "nobody")
}

// again writes o down, reads it and gives what was read.
func again(t testing.TB, o *Outputs) *Outputs {
	t.Helper()
	back, err := ReadOutputs(o.AppendState(nil))
	require.NoError(t, err)
	return back
}

// cellWith is a code cell as a client sends it.
func cellWith(t testing.TB, outputs string) Cell {
	t.Helper()
	nb, err := Decode([]byte(`{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":"code","id":"a","metadata":{},
		"source":["a\n","b"],"execution_count":7,"outputs":` + outputs + `}]}`))
	require.NoError(t, err)
	for c := range nb.CodeCells() {
		return c
	}
	panic("no cell")
}

// digestFromPage is the digest of outputs that were to a browser and back: JSON.parse and JSON.stringify.
func digestFromPage(t testing.TB, outputs string) Digest {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(outputs), &v))
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return cellWith(t, string(b)).Digest()
}

func TestDigestsSeeWhatIsShown(t *testing.T) {
	same := [][2]string{
		{`[]`, `[{"output_type":"stream","name":"stdin","text":"x"}]`},
		{stdout("a\nb"), `{"output_type":"stream","name":"stdout","text":["a\n","b"]}`},
		{stdout("\u00e9"), `{"output_type":"stream","name":"stdout","text":"\u00e9"}`},
		{`{"output_type":"display_data","data":{"application/json":{"a":1.0,"b":[1e2,true]},"text/plain":"x"},"metadata":{}}`,
			`{"metadata":{},"output_type":"display_data","data":{"text/plain":["x"],"application/json":{"b":[100,true],"a":1}}}`},
		{`{"output_type":"display_data","data":{"application/json":12345678901234567890},"metadata":{}}`,
			`{"output_type":"display_data","data":{"application/json":12345678901234567000},"metadata":{}}`},
		{shown("x"), `{"output_type":"display_data","data":{"text/plain":"x"},"metadata":{},"transient":{"display_id":"d"}}`},
	}
	list := func(s string) string { return "[" + strings.Trim(s, "[]") + "]" }
	for _, c := range same {
		require.Equal(t, cellWith(t, list(c[0])).Digest(), cellWith(t, list(c[1])).Digest(), c[0])
	}
	differ := []string{
		`[]`, list(stdout("")), list(stdout("a")), list(stdout("ab")), list(stdout("a") + "," + stdout("b")), list(shown("a")),
		`[{"output_type":"stream","name":"stderr","text":"a"}]`, `[` + shown("a") + `,` + shown("a") + `]`,
		`[{"output_type":"display_data","data":{"text/plain":"a"},"metadata":{"x":1}}]`,
		`[{"output_type":"display_data","data":{"application/json":[["a"],"b"]},"metadata":{}}]`,
		`[{"output_type":"display_data","data":{"application/json":["a",["b"]]},"metadata":{}}]`,
		`[{"output_type":"display_data","data":{"application/json":[1,2]},"metadata":{}}]`,
		`[{"output_type":"display_data","data":{"application/json":["1","2"]},"metadata":{}}]`,
		`[{"output_type":"execute_result","data":{"text/plain":"a"},"metadata":{},"execution_count":1}]`,
		`[{"output_type":"execute_result","data":{"text/plain":"a"},"metadata":{},"execution_count":2}]`,
		`[{"output_type":"error","ename":"a","evalue":"b","traceback":[]}]`,
		`[{"output_type":"error","ename":"a","evalue":"b","traceback":["c"]}]`,
	}
	seen := map[Digest]string{}
	for _, outputs := range differ {
		d := cellWith(t, outputs).Digest()
		require.Empty(t, seen[d], outputs)
		seen[d] = outputs
	}
}

func TestEarlierOutputsAreRecognised(t *testing.T) {
	o := NewOutputs(megabyte)
	play(o, text("stdout", "one\ntwo"), display("", "x"), text("stdout", "three"))
	for outputs, want := range map[string]bool{
		stdout("one"):      true,
		stdout("one\ntwo"): true,
		stdout("one\ntwo") + "," + stdout("three"):                 false,
		stdout("one") + "," + shown("x"):                           false,
		stdout("one\ntwo") + "," + shown("x"):                      true,
		stdout("one\ntwo") + "," + shown("y"):                      false,
		stdout("one\ntwo") + "," + shown("x") + "," + stdout("th"): true,
		stdout("two"): false,
		shown("x"):    false,
		stdout("one\ntwo") + `,{"output_type":"stream","name":"stdin","text":"x"},` + shown("x"): true,
		stdout("one\ntwo") + "," + shown("x") + "," + stdout("three") + "," + shown("z"):         false,
	} {
		require.Equal(t, want, cellWith(t, "["+outputs+"]").IsEarlier(o), outputs)
	}
}

func TestStreamsAreJupyterLabs(t *testing.T) {
	// What JupyterLab's output area makes of texts that came one after the other; made by its processText.
	n, err := (&parser{b: file(t, "streams.json")}).document()
	require.NoError(t, err)
	require.NotEmpty(t, n.kids)
	for _, c := range n.kids {
		s := newStream("x")
		for _, part := range c.get("parts").kids {
			s.write(decode(part.raw))
		}
		got := string(s.text) + string(s.line)
		require.Equal(t, string(decode(c.get("text").raw)), got, "%s", compact(c.get("parts")))
		require.Equal(t, streamDigest("x").add([]byte(got)), s.digest())
	}
}

func TestOutputsAreBounded(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	long := text("stdout", strings.Repeat(line, 1000))
	for name, said := range map[string][]message{
		"many lines":        repeat(40, long),
		"one line":          repeat(40, text("stdout", strings.Repeat("é", 50_000))),
		"alternate streams": repeat(1500, text("stdout", line+line+line), text("stderr", line)),
		"displays":          repeat(100, display("a", strings.Repeat("y", 40_000)), display("b", "z")),
		"updates":           append(repeat(50, display("a", "")), repeat(3, update("a", strings.Repeat("y", 70_000)))...),
		"a large one":       {text("stdout", "before\n"), display("", strings.Repeat("y", 2*megabyte)), text("stdout", "after\n")},
		"a bar that grows":  repeat(2000, text("stdout", "\r"+strings.Repeat("z", 5000)), text("stdout", "\b\bx")),
	} {
		o := NewOutputs(megabyte)
		for _, m := range said {
			play(o, m)
			require.LessOrEqual(t, o.size, megabyte+maxLine+outputOverhead, name)
		}
		got := string(o.AppendJSON(nil))
		if name != "a bar that grows" {
			require.Contains(t, got, "MB of output are left out here", name)
		}
		require.Equal(t, o.Digest(), digestFromPage(t, got), name)
		back := again(t, o)
		require.Equal(t, o.Digest(), back.Digest(), name)
		require.Equal(t, o.size, back.size, name)
		play(o, text("stdout", "more"), update("a", "new"))
		play(back, text("stdout", "more"), update("a", "new"))
		require.Equal(t, o.Digest(), back.Digest(), name)
		play(o, message{"clear_output", `{}`}, text("stdout", "x"))
		require.Equal(t, "["+stdout("x")+"]", strings.ReplaceAll(string(o.AppendJSON(nil)), `","name"`, `","name"`), name)
	}
}

func TestTheBeginningAndTheEndStay(t *testing.T) {
	o := NewOutputs(megabyte)
	for i := range 40_000 {
		play(o, text("stdout", fmt.Sprintf("line %d of a very long story that nobody will read\n", i)))
	}
	got := string(o.AppendJSON(nil))
	require.Contains(t, got, `"line 0 of`)
	require.Contains(t, got, `line 39999 of`)
	require.Regexp(t, `1\.\d MB of output are left out here: a cell keeps 1\.0 MB`, got)
	require.Greater(t, len(got), megabyte*8/10)
}

func repeat(n int, m ...message) (list []message) {
	for range n {
		list = append(list, m...)
	}
	return list
}

func TestCellsAreReadAndWritten(t *testing.T) {
	c := cellWith(t, "["+stdout("old")+"]")
	require.Equal(t, "a", c.ID())
	require.Equal(t, "a\nb", c.Source())
	require.Equal(t, 7, c.Count())
	require.NoError(t, c.SetOutputs([]byte("["+shown("new")+"]"), 9))
	require.Equal(t, 9, c.Count())
	require.Equal(t, cellWith(t, "["+shown("new")+"]").Digest(), c.Digest())
	require.NoError(t, c.SetOutputs([]byte("[]"), 0))
	require.Equal(t, 9, c.Count())
	require.Zero(t, c.Digest())
	require.Error(t, c.SetOutputs([]byte("[1]"), 0))
	require.Error(t, c.SetOutputs([]byte("{}"), 0))
}

// FuzzOutputs: whatever a kernel says, the outputs are valid, bounded, known again from a page, and the same after
// they were written down at any moment.
func FuzzOutputs(f *testing.F) {
	f.Add("stream", `{"name":"stdout","text":"a\rb\b\n"}`, "stream", `{"name":"stdout","text":"\ud83d"}`, "clear_output", `{"wait":true}`)
	f.Add("display_data", `{"data":{"text/plain":["a","b"]},"transient":{"display_id":"d"}}`, "update_display_data",
		`{"data":{"application/x+json":[1.50,-0.0]},"metadata":{"z":1e400},"transient":{"display_id":"d"}}`, "error", `{"ename":"","evalue":"","traceback":[]}`)
	f.Add("execute_result", `{"data":{},"execution_count":null,"data":{"image/png":""}}`, "stream", `{"name":"stdin","text":"?"}`, "stream", `{"name":"","text":[]}`)
	f.Fuzz(func(t *testing.T, k1, c1, k2, c2, k3, c3 string) {
		o, twin := NewOutputs(5000), NewOutputs(5000)
		for range 3 {
			for _, m := range []message{{k1, c1}, {k2, c2}, {k3, c3}} {
				play(o, m)
				play(twin, m)
				twin = again(t, twin)
			}
		}
		require.LessOrEqual(t, o.size, 5000+maxLine+outputOverhead)
		got := string(o.AppendJSON(nil))
		require.Equal(t, got, string(twin.AppendJSON(nil)))
		require.Equal(t, o.Digest(), twin.Digest())
		require.Equal(t, o.Digest(), cellWith(t, got).Digest())
		nb, err := Decode([]byte(`{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":"code","id":"a","metadata":{},
			"source":"","execution_count":null,"outputs":` + got + `}]}`))
		require.NoError(t, err)
		require.NoError(t, nb.Validate())
	})
}
