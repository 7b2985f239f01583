package overlay_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
	"github.com/nbserv/nbserv/sessions/overlay"
)

// The kernels of these tests are scripted, and speak over real sockets; e2e has real ones.

func TestEveryOutputSoFarIsShown(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"one\\n\"\nwait two\nout \"two\\n\"", `out "other"`))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	a.leave()
	c := w.shows("n.ipynb", 0, "one\n")
	require.Equal(t, 1, *c.Count)
	b := w.open("n.ipynb")
	require.Equal(t, a.hash, b.hash)
	w.pass("two")
	w.shows("n.ipynb", 0, "one\ntwo\n")
	require.False(t, b.conflict(), "no page sees a changed file")
	require.Empty(t, w.onDisk("n.ipynb", 0).Outputs)
	require.Empty(t, b.nb.Cells[1].Outputs, "other cells are as they were")
}

func TestASaveFromAnOlderPageErasesNothing(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	for name, c := range map[string]struct {
		had  string // what the file shows before
		page func(a, stale, late *page) *page
	}{
		"the page that asked, asleep":              {"", func(a, _, _ *page) *page { return a }},
		"a page from before":                       {"", func(_, stale, _ *page) *page { return stale }},
		"a page from before, which shows old ones": {"old", func(_, stale, _ *page) *page { return stale }},
		"a page that was opened in the middle":     {"old", func(_, _, late *page) *page { return late }},
	} {
		t.Run(name, func(t *testing.T) {
			nb, file := cells(`out "one\n"`+"\nwait "+name+"\n"+`out "two\n"`), strings.ReplaceAll(name, " ", "")+".ipynb"
			if c.had != "" {
				nb.Cells[0].Outputs = append(nb.Cells[0].Outputs, []byte(`{"output_type":"stream","name":"stdout","text":"old"}`))
			}
			w.write(file, nb)
			stale := w.open(file)
			a := w.open(file)
			a.until(a.run(0), "stream")
			a.fallAsleep()
			w.shows(file, 0, "one\n")
			late := w.open(file)
			w.pass(name)
			w.shows(file, 0, "one\ntwo\n")
			p := c.page(a, stale, late)
			p.save()
			require.Equal(t, "one\ntwo\n", w.onDisk(file, 0).shown())
			p.save()
			require.Equal(t, "one\ntwo\n", w.onDisk(file, 0).shown(), "a page that saves again shows the same as before")
		})
	}
}

func TestWhatIsClearedByHandStaysCleared(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"one\"\nwait two\nout \"two\"\nwait three\nout \"three\""))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	a.leave()
	w.shows("n.ipynb", 0, "one")
	b := w.open("n.ipynb")
	b.clear(0)
	b.save()
	require.Empty(t, w.onDisk("n.ipynb", 0).Outputs)
	w.shows("n.ipynb", 0, "")
	w.pass("two")
	w.shows("n.ipynb", 0, "two") // as in the page that asked, had it cleared the cell
	b.save()
	require.Equal(t, "two", w.onDisk("n.ipynb", 0).shown(), "b has read it when it was empty")
	b.leave()
	w.pass("three")
	w.idle(b.kernel)
	w.shows("n.ipynb", 0, "twothree")
	c := w.open("n.ipynb")
	c.clear(0)
	c.save()
	require.Empty(t, w.onDisk("n.ipynb", 0).Outputs)
	nb, _ := w.read("n.ipynb")
	require.Empty(t, nb.Cells[0].Outputs)
}

func TestACellThatRunsAgainStartsAnew(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"first\"\nwait one"))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	a.leave()
	w.shows("n.ipynb", 0, "first")
	b := w.open("n.ipynb")
	b.nb.Cells[0].Source = "out \"second\"\nwait two"
	again := b.run(0)
	w.pass("one")
	b.until(again, "stream")
	c := w.shows("n.ipynb", 0, "second")
	require.Equal(t, 2, *c.Count)
	b.leave()
	w.pass("two")
	w.idle(b.kernel)
	w.shows("n.ipynb", 0, "second")
}

func TestWhatAPageOrAProgramWritesStays(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells(`out "a"`, `out "b"`, `out "c"`))
	a := w.open("n.ipynb")
	a.run(0)
	a.run(1)
	a.done(a.run(2))
	a.leave()
	w.shows("n.ipynb", 2, "c")
	b := w.open("n.ipynb")
	b.nb.Cells[0].Outputs = b.nb.Cells[2].Outputs
	b.nb.Cells = b.nb.Cells[:2] // c is deleted
	b.save()
	require.Equal(t, "c", w.onDisk("n.ipynb", 0).shown(), "outputs that somebody put there stay")
	require.Equal(t, "b", w.onDisk("n.ipynb", 1).shown())
	nb, _ := w.read("n.ipynb")
	require.Len(t, nb.Cells, 2)
	require.Equal(t, "c", nb.Cells[0].shown())
	w.save("n.ipynb", cells(`out "a"`, `out "b"`, `out "c"`)) // and a cell that comes again has nothing
	nb, _ = w.read("n.ipynb")
	require.Empty(t, nb.Cells[2].Outputs)
}

func TestEditedCodeKeepsItsOutputs(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"one\"\nwait two\nout \"two\""))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	a.leave()
	w.shows("n.ipynb", 0, "one")
	b := w.open("n.ipynb")
	b.nb.Cells[0].Source = "out \"edited\""
	w.pass("two")
	w.shows("n.ipynb", 0, "onetwo")
	b.save()
	require.Equal(t, "onetwo", w.onDisk("n.ipynb", 0).shown(), "as in a page, where they stay until the cell runs again")
	require.Equal(t, `out "edited"`, joined(w.onDisk("n.ipynb", 0).Source))
}

func TestQueuedCells(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	nb := cells(`out "a"`+"\nwait go", `out "b"`, `fail "c"`, `out "d"`)
	nb.Cells[3].Outputs = append(nb.Cells[3].Outputs, []byte(`{"output_type":"stream","name":"stdout","text":"before"}`))
	w.write("n.ipynb", nb)
	a := w.open("n.ipynb")
	first := a.run(0)
	for i := range 3 {
		a.run(i + 1)
	}
	a.until(first, "stream")
	a.leave()
	w.shows("n.ipynb", 0, "a")
	got, _ := w.read("n.ipynb")
	require.Empty(t, got.Cells[1].Outputs, "later cells begin later")
	require.Nil(t, got.Cells[1].Count)
	w.pass("go")
	w.shows("n.ipynb", 1, "b")
	w.shows("n.ipynb", 2, "[Failure]")
	w.idle(a.kernel)
	c := w.shows("n.ipynb", 3, "before")
	require.Nil(t, c.Count, "what was aborted behind the error never ran")
}

func TestRestartAndDeathInBetween(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	for name, end := range map[string]func(p *page) error{
		"restart": func(p *page) error { return w.host.Restart(t.Context(), p.kernel) },
		"shut":    func(p *page) error { return w.host.Shutdown(t.Context(), p.kernel) },
	} {
		t.Run(name, func(t *testing.T) {
			file := name + ".ipynb"
			w.write(file, cells("out \"before\\n\"\nwait never", `out "queued"`))
			a := w.open(file)
			id := a.run(0)
			a.run(1)
			a.until(id, "stream")
			a.leave()
			w.shows(file, 0, "before\n")
			require.NoError(t, end(a))
			require.Eventually(t, func() bool {
				nb, _ := w.read(file)
				return strings.HasPrefix(nb.Cells[0].shown(), "before\n[")
			}, patience, tick)
			if name == "restart" {
				b := w.open(file)
				b.until(b.run(1), "stream")
				b.leave()
				w.shows(file, 1, "queued")
			}
		})
	}
}

func TestAPageThatHadEverythingAndNeverSaved(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells(`out "whole"`, `out "old code"`))
	a := w.open("n.ipynb")
	a.done(a.run(0))
	a.nb.Cells[1].Source = `out "new code"`
	a.done(a.run(1))
	a.leave()
	w.shows("n.ipynb", 0, "whole")
	nb, _ := w.read("n.ipynb")
	require.Empty(t, nb.Cells[1].Outputs, "they are no outputs of the code that is in the file")
}

func TestAPageThatSavedLeavesNothingToKeep(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells(`out "saved"`, `out "cleared"`, `show x "kept"`))
	a := w.open("n.ipynb")
	a.done(a.run(0))
	a.done(a.run(1))
	a.nb.Cells[0].Outputs = append(a.nb.Cells[0].Outputs, []byte(`{"output_type":"stream","name":"stdout","text":"saved"}`))
	a.clear(1)
	a.save()
	hash, later := a.hash, time.Now().Add(time.Minute) // than anything a page might not have had yet
	require.NoError(t, os.Chtimes(filepath.Join(w.root, "n.ipynb"), later, later))
	a.leave()
	b := w.open("n.ipynb")
	require.Equal(t, hash, b.hash)
	require.Equal(t, "saved", b.nb.Cells[0].shown())
	require.Empty(t, b.nb.Cells[1].Outputs)
}

func TestFormat44(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", withoutIDs(cells("out \"one\"\nwait two\nout \"two\"", `out "twin"`, `out "twin"`)))
	a := w.open("n.ipynb")
	a.nb.Minor = 5 // JupyterLab makes ids of its own
	a.nb.Cells[0].ID, a.nb.Cells[1].ID = "of-a-0", "of-a-1"
	id := a.run(0)
	a.until(id, "stream")
	a.run(1)
	a.leave()
	w.shows("n.ipynb", 0, "one")
	nb, _ := w.read("n.ipynb")
	require.Equal(t, 4, nb.Minor)
	require.Empty(t, nb.Cells[0].ID)

	b := w.open("n.ipynb")
	b.nb.Minor = 5
	for i, id := range []string{"of-b-0", "of-b-1", "of-b-2"} {
		b.nb.Cells[i].ID = id
	}
	w.pass("two")
	w.shows("n.ipynb", 0, "onetwo")
	w.idle(b.kernel)
	nb, _ = w.read("n.ipynb")
	require.Empty(t, nb.Cells[1].Outputs, "two cells have that code")
	require.Empty(t, nb.Cells[2].Outputs)
	b.save()
	require.Equal(t, "onetwo", w.onDisk("n.ipynb", 0).shown())
	require.Equal(t, "of-b-0", w.onDisk("n.ipynb", 0).ID)
	b.nb.Cells[0].Source = `out "edited"`
	b.save()
	require.Equal(t, "onetwo", w.onDisk("n.ipynb", 0).shown(), "now it is known by its id")
	again := b.run(0)
	b.done(again)
	b.leave()
	w.shows("n.ipynb", 0, "edited")
}

func TestRenames(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	require.NoError(t, os.Mkdir(filepath.Join(w.root, "folder"), 0o755))
	w.write("n.ipynb", cells("out \"one\"\nwait two\nout \"two\"\nwait three\nout \"three\""))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	a.leave()
	w.shows("n.ipynb", 0, "one")
	_, err := w.files.Rename(t.Context(), w.path("n.ipynb"), w.path("folder/m.ipynb"))
	require.NoError(t, err)
	to := "folder/m.ipynb"
	_, err = w.sessions.Update(t.Context(), a.id, sessions.Patch{Path: &to})
	require.NoError(t, err)
	w.pass("two")
	w.shows("folder/m.ipynb", 0, "onetwo")
	_, err = w.files.Rename(t.Context(), w.path("folder"), w.path("place"))
	require.NoError(t, err)
	w.pass("three")
	w.shows("place/m.ipynb", 0, "onetwothree")
}

// Save As: the page saves under another name, and then renames its session.
func TestANotebookThatIsSavedUnderAnotherName(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"one\"\nwait two\nout \"two\""))
	a := w.open("n.ipynb")
	a.until(a.run(0), "stream")
	w.save("m.ipynb", a.nb)
	to := "m.ipynb"
	_, err := w.sessions.Update(t.Context(), a.id, sessions.Patch{Path: &to})
	require.NoError(t, err)
	a.leave()
	w.pass("two")
	w.shows("m.ipynb", 0, "onetwo")
}

func TestTwoNotebooksOnOneKernel(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	one, two := cells(`out "x"`), cells(`out "y"`)
	two.Cells[0].ID = "elsewhere"
	w.write("one.ipynb", one)
	w.write("two.ipynb", two)
	a := w.open("one.ipynb")
	_, err := w.sessions.Create(t.Context(), sessions.CreateRequest{Path: "two.ipynb", Type: "notebook", KernelID: a.kernel})
	require.NoError(t, err)
	a.done(a.ask("elsewhere", `out "y"`))
	a.leave()
	w.shows("two.ipynb", 0, "y")
	nb, _ := w.read("one.ipynb")
	require.Empty(t, nb.Cells[0].Outputs, "the notebook is the one whose cells match")
}

func TestDownloadsCopiesAndCheckpointsHaveThem(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"one\"\nwait never"))
	a := w.open("n.ipynb")
	id := a.run(0)
	a.until(id, "stream")
	a.leave()
	w.shows("n.ipynb", 0, "one")
	before, err := os.Stat(filepath.Join(w.root, "n.ipynb"))
	require.NoError(t, err)

	f, err := w.files.Open(t.Context(), w.path("n.ipynb"))
	require.NoError(t, err)
	st, err := f.Stat()
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, before.ModTime().Unix(), st.ModTime().Unix())
	require.Greater(t, st.Size(), before.Size())

	m, err := w.files.Copy(t.Context(), w.path("n.ipynb"), w.path(""))
	require.NoError(t, err)
	require.Equal(t, "one", w.onDisk(m.Path, 0).shown())
	_, err = w.files.Checkpoints().Create(t.Context(), w.path("n.ipynb"))
	require.NoError(t, err)
	require.Equal(t, "one", w.onDisk(".ipynb_checkpoints/n-checkpoint.ipynb", 0).shown())
	m, err = w.files.Get(t.Context(), w.path("n.ipynb"), contents.GetOptions{Type: contents.TypeFile, Content: true, Hash: true})
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, m.WriteJSON(&text))
	require.NoError(t, m.Close())
	require.Contains(t, text.String(), `\"one\"`)
	require.Equal(t, a.hash, m.Hash)
	after, err := os.Stat(filepath.Join(w.root, "n.ipynb"))
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestARestoredCheckpointIsWhatIsWanted(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells(`out "one"`))
	_, err := w.files.Checkpoints().Create(t.Context(), w.path("n.ipynb"))
	require.NoError(t, err)
	a := w.open("n.ipynb")
	a.done(a.run(0))
	a.leave()
	w.shows("n.ipynb", 0, "one")
	require.NoError(t, w.files.Checkpoints().Restore(t.Context(), w.path("n.ipynb"), "checkpoint"))
	nb, _ := w.read("n.ipynb")
	require.Empty(t, nb.Cells[0].Outputs)
}

// Another page finds what runs for a page that is there, in a notebook that nobody has looked at since it began.
func TestExecutionsOfAPageThatIsHere(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"hello\\n\"\ninput \"name:\""))
	a := w.open("n.ipynb")
	id := a.run(0)
	a.until(id, "input_request")
	for range 2 {
		list, err := w.keeper.Executions(t.Context(), a.kernel)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, id, list[0].ID)
		require.False(t, list[0].Orphaned)
	}
	a.leave()
	w.shows("n.ipynb", 0, "hello\n<stdin>name:")
	list, err := w.keeper.Executions(t.Context(), a.kernel)
	require.NoError(t, err)
	require.True(t, list[0].Orphaned)
}

func TestInput(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells("out \"hello\\n\"\ninput \"name:\"", "input \"password:\"", "input \"again:\""))
	a := w.open("n.ipynb")
	id := a.run(0)
	a.until(id, "input_request")
	secret := a.run(1)
	third := a.run(2)
	a.leave()
	w.shows("n.ipynb", 0, "hello\n<stdin>name:")
	list, err := w.keeper.Executions(t.Context(), a.kernel)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, []string{id, "a", "running"}, []string{list[0].ID, list[0].Cell, list[0].State})
	require.Equal(t, overlay.ExecutionInput{Prompt: "name:"}, *list[0].Input)
	require.Equal(t, 1, *list[0].Count)
	_, err = kernel.ParsePosition(list[0].Position)
	require.NoError(t, err)
	require.Equal(t, "queued", list[1].State)
	require.Nil(t, list[1].Input)
	require.ErrorContains(t, w.keeper.Answer(t.Context(), a.kernel, secret, "x"), "does not wait for input")
	require.ErrorContains(t, w.keeper.Answer(t.Context(), a.kernel, "unknown", "x"), "does not run")

	require.NoError(t, w.keeper.Answer(t.Context(), a.kernel, id, "Ada"))
	w.shows("n.ipynb", 0, "hello\n<stdin>name: Ada\ngot Ada\n")
	w.shows("n.ipynb", 1, "<stdin>password:")
	require.NoError(t, w.keeper.Answer(t.Context(), a.kernel, secret, "hush"))
	w.shows("n.ipynb", 1, "<stdin>password: ········\ngot hush\n")
	w.shows("n.ipynb", 2, "<stdin>again:")
	require.NoError(t, w.host.Interrupt(t.Context(), a.kernel))
	w.shows("n.ipynb", 2, "<stdin>again:\n[KeyboardInterrupt]")
	require.Eventually(t, func() bool { // its last output comes before its end
		list, err = w.keeper.Executions(t.Context(), a.kernel)
		return err == nil && len(list) == 0
	}, 30*time.Second, 10*time.Millisecond)
	require.ErrorContains(t, w.keeper.Answer(t.Context(), a.kernel, third, "x"), "does not run")
	_, err = w.keeper.Executions(t.Context(), "nobody")
	require.Error(t, err)
}

func TestDisplaysOfOtherCellsAreUpdated(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells(`show bar "0%"`, "wait half\nupdate bar \"50%\"\nclear wait\nwait whole\nupdate bar \"100%\"\nout \"done\""))
	a := w.open("n.ipynb")
	a.run(0)
	a.until(a.run(1), "execute_input")
	a.leave()
	w.shows("n.ipynb", 0, "[0%]")
	w.pass("half")
	w.shows("n.ipynb", 0, "[50%]")
	w.pass("whole")
	w.shows("n.ipynb", 0, "[100%]")
	w.shows("n.ipynb", 1, "done")
}

// A kernel that is gone and the one after it have both run the cell.
func TestTheKernelAfterThisOne(t *testing.T) {
	w := newWorld(t, overlay.Config{})
	w.write("n.ipynb", cells(`out "first"`, `out "first"`))
	a := w.open("n.ipynb")
	a.done(a.run(0))
	a.done(a.run(1))
	a.leave()
	w.shows("n.ipynb", 0, "first")
	require.NoError(t, w.host.Shutdown(t.Context(), a.kernel))
	b := w.open("n.ipynb")
	require.NotEqual(t, a.kernel, b.kernel)
	b.nb.Cells[0].Source = "out \"second\"\nwait more\nout \"more\""
	b.until(b.run(0), "stream")
	b.leave()
	w.shows("n.ipynb", 0, "second")
	w.pass("more")
	w.shows("n.ipynb", 0, "secondmore")
	nb, _ := w.read("n.ipynb")
	require.Equal(t, "first", nb.Cells[1].shown())
}
