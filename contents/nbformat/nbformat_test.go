package nbformat

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The files in testdata were written by nbformat 5.10: NAME.in.json is a notebook as a client sends it,
// NAME.ipynb what nbformat writes of it, NAME.out.json what it reads back; verdicts.json is what its
// validator says to edits of full.in.json.

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return b
}

func toFile(t testing.TB, nb *Notebook) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, nb.WriteFile(&b))
	return b.String()
}

func toClient(t testing.TB, nb *Notebook) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, nb.WriteJSON(&b))
	return b.String()
}

func TestFilesAreByteForByteNbformats(t *testing.T) {
	for _, name := range []string{"full", "numbers", "lists", "empty"} {
		nb, err := Decode(file(t, name+".in.json"))
		require.NoError(t, err, name)
		require.NoError(t, nb.Validate(), name)
		require.Equal(t, string(file(t, name+".ipynb")), toFile(t, nb), name)
	}
}

func TestClientsGetWhatNbformatReads(t *testing.T) {
	for _, name := range []string{"full", "numbers", "lists", "empty"} {
		nb, err := Read(file(t, name+".ipynb"))
		require.NoError(t, err, name)
		require.NoError(t, nb.Validate(), name)
		require.JSONEq(t, string(file(t, name+".out.json")), toClient(t, nb), name)
		again, err := Read([]byte(toFile(t, nb)))
		require.NoError(t, err)
		require.Equal(t, toClient(t, nb), toClient(t, again), "one trip to the disk changes nothing")
	}
}

func TestLiteralsAreKept(t *testing.T) {
	const meta = `{"a":1.0,"b":1e5,"c":1E+400,"d":-0.0,"e":123456789012345678901234567890,"f":0.1000,"g":"\ud83d","h":"\ude00x\ud83d\ude00"}`
	in := `{"cells":[],"metadata":` + meta + `,"nbformat":4,"nbformat_minor":5}`
	nb, err := Decode([]byte(in))
	require.NoError(t, err)
	disk := toFile(t, nb)
	for _, literal := range []string{": 1.0,", ": 1e5,", ": 1E+400,", ": -0.0,", ": 123456789012345678901234567890,", ": 0.1000,", `"\ud83d"`, `"\ude00x😀"`} {
		require.Contains(t, disk, literal)
	}
	back, err := Read([]byte(disk))
	require.NoError(t, err)
	require.Equal(t, strings.Replace(in, `\ud83d\ude00`, "😀", 1), toClient(t, back))
}

type edit struct {
	At  []any            `json:"at"`
	Set *json.RawMessage `json:"set"`
}

func (e edit) apply(t *testing.T, v any) {
	t.Helper()
	for _, key := range e.At[:len(e.At)-1] {
		if i, ok := key.(float64); ok {
			v = v.([]any)[int(i)]
		} else {
			v = v.(map[string]any)[key.(string)]
		}
	}
	if i, ok := e.At[len(e.At)-1].(float64); ok {
		var x any
		require.NoError(t, json.Unmarshal(*e.Set, &x))
		v.([]any)[int(i)] = x
		return
	}
	key := e.At[len(e.At)-1].(string)
	if e.Set == nil {
		delete(v.(map[string]any), key)
		return
	}
	v.(map[string]any)[key] = *e.Set
}

func TestVerdictsAreNbformats(t *testing.T) {
	var cases []struct {
		Name  string
		Minor int
		IDs   bool
		Valid bool
		Edits []edit
	}
	require.NoError(t, json.Unmarshal(file(t, "verdicts.json"), &cases))
	require.Greater(t, len(cases), 400)
	for _, c := range cases {
		var full map[string]any
		require.NoError(t, json.Unmarshal(file(t, "full.in.json"), &full))
		full["nbformat_minor"] = c.Minor
		for _, cell := range full["cells"].([]any) {
			if !c.IDs {
				delete(cell.(map[string]any), "id")
			}
		}
		for _, e := range c.Edits {
			e.apply(t, full)
		}
		b, err := json.Marshal(full)
		require.NoError(t, err)
		nb, err := Read(b)
		require.NoError(t, err)
		if err = nb.Validate(); c.Valid {
			require.NoError(t, err, "4.%d %s", c.Minor, c.Name)
		} else {
			require.Error(t, err, "4.%d %s", c.Minor, c.Name)
		}
	}
}

func TestMessagesNameThePlace(t *testing.T) {
	nb, err := Read([]byte(`{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":"code","id":"a","metadata":{},
		"source":[],"execution_count":null,"outputs":[{"output_type":"stream","name":"stdout","text":1}]}]}`))
	require.NoError(t, err)
	require.EqualError(t, nb.Validate(), "cells[0].outputs[0].text: should be a string or an array of strings, not a number")
}

func TestMissingIDsAreGivenAndStay(t *testing.T) {
	in := []byte(`{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":"raw","metadata":{},"source":"a"},
		{"cell_type":"raw","id":"x","metadata":{},"source":"a"},{"cell_type":"raw","id":"x","metadata":{},"source":"a"}]}`)
	nb, err := Read(in)
	require.NoError(t, err)
	require.NoError(t, nb.Validate())
	again, err := Read(in)
	require.NoError(t, err)
	require.Equal(t, toClient(t, nb), toClient(t, again))
	require.Equal(t, 1, strings.Count(toClient(t, nb), `"id":"x"`))
}

func TestOlderFormats(t *testing.T) {
	nb, err := Read(file(t, "v3.ipynb"))
	require.NoError(t, err)
	require.NoError(t, nb.Validate())
	for i := range nb.cells() {
		nb.cells()[i].pop("id")
	}
	require.JSONEq(t, string(file(t, "v3.out.json")), toClient(t, nb))

	kept, err := Decode(file(t, "v3.ipynb"))
	require.NoError(t, err)
	require.JSONEq(t, string(file(t, "v3.ipynb")), toFile(t, kept), "an upload of an old notebook is kept")

	for _, bad := range []string{`{"nbformat":1}`, `{}`, `{"nbformat":5}`, `{"nbformat":"4"}`, `[]`, `4`, ``, `{"nbformat":4`} {
		_, err := Read([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestNaNIsShownAsNullAndSaid(t *testing.T) {
	in := []byte(`{"nbformat":4,"nbformat_minor":5,"metadata":{"a":NaN,"b":[Infinity,-Infinity]},"cells":[]}`)
	nb, err := Read(in)
	require.NoError(t, err)
	require.JSONEq(t, `{"nbformat":4,"nbformat_minor":5,"metadata":{"a":null,"b":[null,null]},"cells":[]}`, toClient(t, nb))
	require.ErrorContains(t, nb.Validate(), "3 numbers that JSON cannot hold")
	_, err = Decode(in)
	require.Error(t, err, "a client's body is strict JSON")
}

func TestSyntaxErrors(t *testing.T) {
	for _, bad := range []string{`{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[1 2]`, `{"a":01}`, `{"a":1.}`, `{"a":1e}`, `{"a":-}`, `{"a":+1}`,
		`{"a":"\x"}`, `{"a":"\u12"}`, "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", `{"a":"`, `{a:1}`, `{"a":tru}`, `{} {}`, `[`, `{"a":1]`,
		strings.Repeat("[", MaxDepth+2)} {
		_, err := (&parser{b: []byte(bad)}).document()
		require.Error(t, err, bad)
		require.IsType(t, &SyntaxError{}, err, bad)
	}
}

// TestNumbersAreCheap: an output of many numbers costs little beside its text; other values are bounded.
func TestNumbersAreCheap(t *testing.T) {
	numbers := strings.Repeat("1.50, -2e5,\nnull ,true,", 100_000) + "0"
	in := []byte(`{"nbformat":4,"nbformat_minor":5,"cells":[],"metadata":{"l":[` + numbers + `],"m":[[1],[ ],[[2,"x"]],[NaN],[1,NaN]]}}`)
	var nb *Notebook
	require.Less(t, testing.AllocsPerRun(1, func() {
		var err error
		nb, err = Read(in)
		require.NoError(t, err)
	}), 200.0)
	require.Equal(t, 2, nb.nans)
	disk := toFile(t, nb)
	require.Contains(t, disk, "\n   1.50,\n   -2e5,\n   null,\n   true,\n   1.50,")
	require.Equal(t, normal(t, strings.ReplaceAll(string(in), "NaN", "null")), normal(t, disk))
	require.Equal(t, normal(t, disk), normal(t, toClient(t, nb)))
	_, err := Read([]byte(`{"nbformat":4,"cells":[` + strings.Repeat("[],", MaxValues) + `[]]}`))
	require.ErrorContains(t, err, "more than 5000000 values")
}

// FuzzNotebook: whatever is a notebook comes back from the disk as it was, and a second trip changes no byte.
func FuzzNotebook(f *testing.F) {
	for _, name := range []string{"full.in.json", "full.ipynb", "numbers.ipynb", "lists.in.json", "v3.ipynb"} {
		f.Add(file(f, name))
	}
	f.Add([]byte(`{"nbformat":4,"nbformat_minor":5,"cells":[1, 2 ],"metadata":{"a":[ 1,-0.5e3 ,true],"b":[NaN],"c":[1,"x"],"d":[1,]}}`))
	f.Add([]byte(`{"nbformat":4,"nbformat_minor":5,"cells":[{"cell_type":"code","source":["\ud83d","\ude00"],"outputs":7}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		nb, err := Read(in)
		if err != nil {
			return
		}
		_ = nb.Validate()
		client, disk := toClient(t, nb), toFile(t, nb)
		require.True(t, json.Valid([]byte(client)))
		back, err := Read([]byte(disk))
		require.NoError(t, err)
		require.Equal(t, disk, toFile(t, back))
		require.Equal(t, normal(t, client), normal(t, toClient(t, back)))
		sent, err := Decode([]byte(client))
		require.NoError(t, err)
		require.Equal(t, disk, toFile(t, sent), "as clients send it back")
	})
}

// normal is a JSON text's meaning, with every number's literal.
func normal(t *testing.T, text string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	require.NoError(t, dec.Decode(&v))
	return v
}
