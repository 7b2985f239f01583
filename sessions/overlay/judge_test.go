package overlay

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/kernel"
)

// The tests of the tables in docs/outputs.md, row by row.

// cellShowing is a code cell that shows text on stdout, or nothing.
func cellShowing(t *testing.T, source, text string) nbformat.Cell {
	t.Helper()
	outputs := "[]"
	if text != "" {
		outputs = fmt.Sprintf(`[{"output_type":"stream","name":"stdout","text":%q}]`, text)
	}
	code, err := json.Marshal(source)
	require.NoError(t, err)
	nb, err := nbformat.Decode([]byte(`{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":"code","id":"a",
		"metadata":{},"execution_count":1,"source":` + string(code) + `,"outputs":` + outputs + `}]}`))
	require.NoError(t, err)
	for c := range nb.CodeCells() {
		return c
	}
	panic("no cell")
}

func say(t *testing.T, x *execution, at time.Time, texts ...string) {
	t.Helper()
	for _, text := range texts {
		content, err := json.Marshal(map[string]string{"name": "stdout", "text": text})
		require.NoError(t, err)
		c, ok := nbformat.ParseChange("stream", content)
		require.True(t, ok)
		x.change(at, func(o *nbformat.Outputs) { o.Apply(c) })
	}
}

const asleep = time.Hour

// ago is a time before now.
func ago(d time.Duration) time.Time { return time.Now().Add(-d) }

// scene is an execution that page "asker" asked for a minute ago, and that has said "10%", "20%" and "done" over it
// half a minute ago.
func scene(t *testing.T, said ...string) (*book, *execution, *place) {
	t.Helper()
	b := newBook("kernel")
	x := &execution{outputs: nbformat.NewOutputs(MaxCellBytes), facts: facts{
		ID: "x", Seq: 1, Session: "asker", Cell: "a", Code: "code", State: ended, Began: ago(time.Minute), Ended: ago(20 * time.Second),
	}}
	say(t, x, ago(30*time.Second), said...)
	p := &place{Cell: "a", Known: true}
	x.Places = map[string]*place{"n.ipynb": p}
	b.add(x)
	return b, x, p
}

var progress = []string{"10%\r", "20%\r", "done"}

func TestSavesAreJudgedByTheTable(t *testing.T) {
	here := &page{Here: true, Since: ago(25 * time.Second)}
	lost := &page{Since: ago(35 * time.Second)}
	long := &page{Since: ago(2 * time.Hour)}
	left := &page{Since: ago(35 * time.Second), Left: true}
	for name, c := range map[string]struct {
		said   []string
		saved  string
		before string
		pages  map[string]*page
		with   func(*execution)
		want   verdict
	}{
		"its outputs as they are":                          {said: progress, saved: "done", want: same},
		"its outputs as they were":                         {said: progress, saved: "20%", want: stale},
		"the beginning of its outputs":                     {said: []string{"one\n", "two\nthree\n"}, saved: "one\ntwo\n", want: stale},
		"what was there before":                            {said: progress, saved: "old", before: "old", want: stale},
		"nothing, and there is nothing":                    {saved: "", want: same},
		"nothing, and a page was there before":             {said: progress, pages: map[string]*page{"w": here, "new": here}, with: witnessed("w"), want: stale},
		"nothing, and the asker has come back":             {said: progress, pages: map[string]*page{"asker": {Here: true, Since: time.Now()}}, with: witnessed("asker"), want: stale},
		"nothing, and the asker came back long ago":        {said: progress, pages: map[string]*page{"asker": here}, with: witnessed("asker"), want: cleared},
		"nothing, by the asker":                            {said: progress, pages: map[string]*page{"asker": here}, want: cleared},
		"nothing, by the asker, just now":                  {said: progress, pages: map[string]*page{"asker": here}, with: func(x *execution) { x.First = time.Now() }, want: stale},
		"nothing, and all have seen it":                    {said: progress, pages: map[string]*page{"new": here, "asker": left}, with: read, want: cleared},
		"nothing, and who is here has, who sleeps has not": {said: progress, pages: map[string]*page{"new": here, "asker": lost}, with: func(x *execution) { read(x); witnessed("asker")(x) }, want: cleared},
		"nothing, nobody is here, one sleeps":              {said: progress, pages: map[string]*page{"asker": lost}, with: func(x *execution) { read(x); witnessed("asker")(x) }, want: stale},
		"nothing, nobody is here, one slept in":            {said: progress, pages: map[string]*page{"asker": long}, with: func(x *execution) { read(x); witnessed("asker")(x) }, want: cleared},
		"nothing, nobody is here, nobody has read it":      {said: progress, pages: map[string]*page{"asker": left}, want: stale},
		"nothing, nobody is here, a program has read it":   {said: progress, with: read, want: cleared},
		"nothing, a stranger is here, nobody has read it":  {said: progress, pages: map[string]*page{"console": here}, want: stale},
		"something else":                                   {said: progress, saved: "mine", before: "old", want: over},
		"what was there before, which nobody knows":        {said: progress, saved: "old", with: func(x *execution) { x.Places["n.ipynb"].Known = false }, want: over},
	} {
		t.Run(name, func(t *testing.T) {
			b, x, p := scene(t, c.said...)
			p.Before = cellShowing(t, "code", c.before).Digest()
			if c.pages != nil {
				b.Pages = c.pages
			}
			if c.with != nil {
				c.with(x)
			}
			require.Equal(t, c.want, b.judgeSaved(x, p, cellShowing(t, "other code", c.saved), asleep))
		})
	}
}

func witnessed(by ...string) func(*execution) {
	return func(x *execution) { x.Witnesses = by }
}

func read(x *execution) { x.Shown, x.Seen = true, true }

func TestFilesAreJudgedByTheTable(t *testing.T) {
	old, middle, late := ago(2*time.Minute), ago(40*time.Second), ago(5*time.Second)
	for name, c := range map[string]struct {
		said     []string
		in       string
		source   string
		modified time.Time
		with     func(*execution, *place)
		want     verdict
	}{
		"its outputs as they are":                     {said: progress, in: "done", modified: late, want: same},
		"its outputs as they were":                    {said: progress, in: "10%", modified: late, want: stale},
		"anything from before it began":               {said: progress, in: "old", modified: old, want: stale},
		"another thing from before it began":          {said: progress, in: "older", modified: old, with: before("old"), want: stale},
		"nothing from before it began":                {said: progress, modified: old, want: stale},
		"what it showed before, written again":        {said: progress, in: "old", modified: late, with: before("old"), want: stale},
		"nothing, written before its first output":    {said: progress, modified: middle, want: stale},
		"nothing, written just after it":              {said: progress, modified: ago(29 * time.Second), want: stale},
		"nothing, written later":                      {said: progress, modified: late, want: cleared},
		"nothing, and there is nothing":               {modified: late, want: same},
		"something, and there is nothing":             {in: "old", modified: old, want: stale},
		"something else":                              {said: progress, in: "mine", modified: late, want: over},
		"delivered, and the code was never saved":     {said: progress, modified: old, source: "saved code", with: delivered, want: over},
		"delivered, and the code was saved":           {said: progress, modified: old, source: "code", with: delivered, want: stale},
		"not delivered, and the code was never saved": {said: progress, modified: old, source: "saved code", want: stale},
	} {
		t.Run(name, func(t *testing.T) {
			b, x, p := scene(t, c.said...)
			p.Known = false
			if c.with != nil {
				c.with(x, p)
			}
			if c.source == "" {
				c.source = "code"
			}
			require.Equal(t, c.want, b.judgeFile(x, p, cellShowing(t, c.source, c.in), c.modified))
			if c.modified == old && c.want == stale && c.in == "old" {
				require.True(t, p.Known, "what was there before is known now")
				require.Equal(t, cellShowing(t, "", "old").Digest(), p.Before)
			}
		})
	}
}

func before(text string) func(*execution, *place) {
	return func(_ *execution, p *place) {
		d := nbformat.NewOutputs(MaxCellBytes)
		d.Write("stdout", []byte(text))
		p.Known, p.Before = true, d.Digest()
	}
}

func delivered(x *execution, _ *place) { x.Delivered = true }

func TestWhoMayShowNothing(t *testing.T) {
	b, x, _ := scene(t)
	for _, s := range []string{"asker", "other", "gone", "asleep"} {
		b.came(s)
	}
	b.left["gone"] = true
	b.went("gone")
	b.went("asleep")
	say(t, x, time.Now(), "first")
	b.witness(x)
	require.ElementsMatch(t, []string{"other", "asleep"}, x.Witnesses, "the asker sees it come, who left is no more")

	b.came("later")
	require.NotContains(t, x.Witnesses, "later")
	x.EmptyUntil = time.Now().Add(time.Minute)
	b.came("loading")
	require.Contains(t, x.Witnesses, "loading", "it may have read the notebook before the first output")
}

func TestNobodyIsHereAfterTheHostHasDied(t *testing.T) {
	b, x, _ := scene(t, "said")
	x.State = running
	b.came("asker")
	require.False(t, b.wanted(x))
	b.apply(kernel.Entry{Seq: 7, Gap: &kernel.Gap{Dropped: 3, Reason: "slow"}})
	require.False(t, b.wanted(x))
	b.apply(kernel.Entry{Seq: 8, Gap: &kernel.Gap{Reason: "started anew"}})
	require.True(t, b.wanted(x))
	require.Contains(t, string(x.outputs.AppendJSON(nil)), gapNotice)
	b.apply(kernel.Entry{Seq: 9, Kind: kernel.Attached, To: "asker"})
	require.False(t, b.wanted(x))
}

func TestEarlierStatesAreBounded(t *testing.T) {
	_, x, _ := scene(t)
	for i := range 3 * maxEarlier {
		say(t, x, time.Now(), fmt.Sprintf("\r%d", i))
	}
	require.LessOrEqual(t, len(x.Earlier), maxEarlier)
	last := nbformat.NewOutputs(MaxCellBytes)
	last.Write("stdout", fmt.Appendf(nil, "%d", 3*maxEarlier-2))
	require.Contains(t, x.Earlier, last.Digest())
}
