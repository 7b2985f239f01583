package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Closing the laptop: what cells print while no page shows it. The pages here do over REST and WebSocket what
// JupyterLab 4.6 does; a real one is in TestStockJupyterLab….

func TestClosedPage(t *testing.T) {
	s := start(t)
	t.Run("every output so far is shown, in the middle and later, and no page sees a changed file", func(t *testing.T) {
		s.write("basic.ipynb", cells("print('one')\n"+gate("go")+"print('two')", "'other'"))
		a := s.open("basic.ipynb")
		before := s.read("basic.ipynb")
		a.until(a.start("a"), "one")
		a.leave()
		c := s.shows("basic.ipynb", "a", "one\n")
		require.Equal(t, 1, *c.Count)
		b := s.open("basic.ipynb")
		s.pass("go")
		s.shows("basic.ipynb", "a", "one\ntwo\n")
		now := s.read("basic.ipynb")
		require.Equal(t, before.Hash, now.Hash)
		require.Equal(t, before.Modified, now.Modified)
		require.False(t, b.conflict())
		require.Empty(t, s.file("basic.ipynb").Cells[0].Outputs, "nothing is written while a page is there")
		b.save() // it shows "one"
		require.Equal(t, "one\ntwo\n", s.file("basic.ipynb").Cells[0].shown(), "a save from an older page does not erase outputs")
		b.save()
		require.Equal(t, "one\ntwo\n", s.file("basic.ipynb").Cells[0].shown())
		b.cell("a").Outputs, b.cell("a").Count = []output{}, nil
		b.save()
		s.shows("basic.ipynb", "a", "")
		b.leave()
		again := s.open("basic.ipynb")
		require.Empty(t, again.cell("a").Outputs, "outputs cleared by hand stay cleared")
		again.leave()
	})
}

func TestClosedPageFold(t *testing.T) {
	s := start(t)
	s.write("fold.ipynb", cells("print('one')\n"+gate("go")+"print('two')"))
	a := s.open("fold.ipynb")
	a.until(a.start("a"), "one")
	a.leave()
	s.pass("go")
	require.Eventually(t, func() bool { return s.file("fold.ipynb").Cells[0].shown() == "one\ntwo\n" }, patience, 100*time.Millisecond)
	require.Equal(t, "one\ntwo\n", s.read("fold.ipynb").Content.Cells[0].shown())
}
