package overlay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/sessions/overlay"
)

// A server that stops, or crashes, in the middle: the next one goes on where the journal was read up to.
func TestTheNextServerGoesOn(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %v", crash), func(t *testing.T) {
			w := newWorld(t, overlay.Config{})
			w.write("n.ipynb", cells(`show bar "0%"`, "out \"10%\"\nwait two\nout \"\\r20%\"\nupdate bar \"50%\"\nwait three\nout \"\\rdone\"", `out "cleared"`))
			a := w.open("n.ipynb")
			a.done(a.run(0))
			a.done(a.run(2))
			a.until(a.run(1), "stream")
			a.leave()
			w.shows("n.ipynb", 1, "10%")
			b := w.open("n.ipynb")
			b.clear(2)
			b.save()
			w.shows("n.ipynb", 2, "")

			w.restart(crash)
			nb, _ := w.read("n.ipynb")
			require.Equal(t, "10%", nb.Cells[1].shown(), "at once")
			w.pass("two")
			w.shows("n.ipynb", 1, "20%")
			w.shows("n.ipynb", 0, "[50%]")

			w.restart(crash)
			w.pass("three")
			w.shows("n.ipynb", 1, "done")
			nb, _ = w.read("n.ipynb")
			require.Equal(t, "[50%]", nb.Cells[0].shown())
			require.Empty(t, nb.Cells[2].Outputs, "what was cleared before a crash stays cleared")
			b.save()
			require.Equal(t, "done", w.onDisk("n.ipynb", 1).shown(), "and b is known to be older")
		})
	}
}

// A server that knows nothing, because its database was damaged, makes it all of the journals again.
func TestAServerWithoutMemoryReadsTheJournals_P16(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"one\"\nwait two\nout \"two\""))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	a.leave()
	w.shows("n.ipynb", 0, "one")
	w.stop()
	w.begin(filepath.Join(t.TempDir(), "empty.db"))
	t.Cleanup(w.stop)
	b := &page{w: w, name: "n.ipynb", session: "b", kernel: a.kernel} // a client that knows its kernel
	b.join()
	require.Equal(t, a.kernel, b.kernel)
	w.shows("n.ipynb", 0, "one")
	w.pass("two")
	w.shows("n.ipynb", 0, "onetwo")
}

// A kernel that ended while no server was there has its outputs, and says so.
func TestAKernelThatEndedMeanwhile(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"one\\n\"\nwait never"))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	a.leave()
	w.shows("n.ipynb", 0, "one\n")
	w.stop()
	require.NoError(t, w.host.Shutdown(t.Context(), a.kernel))
	w.begin(w.database)
	t.Cleanup(w.stop)
	nb, _ := w.read("n.ipynb")
	require.Equal(t, "one\n", nb.Cells[0].shown())
	require.Eventually(t, func() bool {
		nb, _ = w.read("n.ipynb")
		return strings.HasPrefix(nb.Cells[0].shown(), "one\n<stderr>[nbserv] the kernel ended while this ran")
	}, patience, 50*time.Millisecond, "%v", later(func() string { return nb.Cells[0].shown() }))
}

func TestFilesGetWhatHasEnded(t *testing.T) {
	w := newWorld(t, overlay.Config{Quiet: time.Millisecond, Asleep: time.Hour})
	const rest = `"metadata":{"x":1.0,"big":123456789012345678901234567890,"y":[1e5]},"nbformat":4,"nbformat_minor":5}`
	source := `{"cells":[{"cell_type":"code","id":"a","metadata":{"k":1.50},"source":"out \"one\"\nwait two\nout \"two\"","execution_count":null,"outputs":[]},
		{"cell_type":"markdown","id":"m","metadata":{},"source":["a\n","b"]}],` + rest
	file := filepath.Join(w.root, "n.ipynb")
	require.NoError(t, os.WriteFile(file, []byte(source), 0o640))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	asleep := w.open("n.ipynb")
	a.leave()
	w.shows("n.ipynb", 0, "one")
	w.pass("two")
	w.shows("n.ipynb", 0, "onetwo")
	w.never(func() bool { return len(w.onDisk("n.ipynb", 0).Outputs) > 0 }, "a page is there")
	asleep.fallAsleep()
	w.never(func() bool { return len(w.onDisk("n.ipynb", 0).Outputs) > 0 }, "a page is asleep")
	require.False(t, asleep.conflict())
	asleep.attach()
	asleep.leave()
	require.Eventually(t, func() bool { return w.onDisk("n.ipynb", 0).shown() == "onetwo" }, patience, tick)
	require.Equal(t, 1, *w.onDisk("n.ipynb", 0).Count)
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, literal := range []string{`"k": 1.50`, `"x": 1.0`, `123456789012345678901234567890`, `1e5`, `"a\n"`} {
		require.Contains(t, string(raw), literal, "nothing else is touched")
	}
	st, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), st.Mode())
	list, err := w.keeper.Executions(t.Context(), a.kernel)
	require.NoError(t, err)
	require.Empty(t, list)
	w.write("n.ipynb", cells(`out "one"`)) // what is in the file is the file's own
	nb, _ := w.read("n.ipynb")
	require.Empty(t, nb.Cells[0].Outputs)
}

// never looks for as long as the Keeper needs to look around twice.
func (w *world) never(what func() bool, why string) {
	w.t.Helper()
	require.Never(w.t, what, 2500*time.Millisecond, 50*time.Millisecond, why)
}

func TestFilesThatCannotBeWritten(t *testing.T) {
	w := newWorld(t, overlay.Config{Quiet: time.Millisecond})
	nan := `{"cells":[{"cell_type":"code","id":"a","metadata":{},"source":"out \"one\"","execution_count":null,"outputs":[]}],
		"metadata":{"x":NaN},"nbformat":4,"nbformat_minor":5}`
	require.NoError(t, os.WriteFile(filepath.Join(w.root, "nan.ipynb"), []byte(nan), 0o644))
	w.write("gone.ipynb", cells(`out "gone"`))
	for _, name := range []string{"nan.ipynb", "gone.ipynb"} {
		p := &page{w: w, name: name, session: name}
		p.join()
		p.nb = cells(`out "one"`)
		p.done(p.run(0))
		if name == "gone.ipynb" {
			require.NoError(t, os.Remove(filepath.Join(w.root, name)))
		}
		p.leave()
	}
	m := func() string {
		model, err := w.files.Get(t.Context(), w.path("nan.ipynb"), contentsWanted)
		require.NoError(t, err)
		defer model.Close()
		var b strings.Builder
		require.NoError(t, model.WriteJSON(&b))
		return b.String()
	}
	require.Eventually(t, func() bool { return strings.Contains(m(), `"text":"one"`) }, patience, tick)
	w.never(func() bool {
		raw, err := os.ReadFile(filepath.Join(w.root, "nan.ipynb"))
		return err != nil || string(raw) != nan
	}, "it would lose its NaN")
	require.Contains(t, m(), `"text":"one"`)
}
