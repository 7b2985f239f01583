package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What cells print while no page shows it. The pages of these tests do over REST and WebSocket what JupyterLab 4.6
// does; a browser's page does it in TestClosedBrowser.
func TestClosedPage(t *testing.T) {
	s := start(t)
	t.Run("every output so far is shown, in the middle and later, and no page sees a changed file", func(t *testing.T) {
		s := s.in(t)
		s.write("basic.ipynb", cells("print('one')\n"+gate("basic")+"print('two')", "'other'"))
		a := s.open("basic.ipynb")
		before := s.read("basic.ipynb")
		a.until(a.start("a"), "one")
		a.leave()
		c := s.shows("basic.ipynb", "a", "one\n")
		require.Equal(t, 1, *c.Count)
		b := s.open("basic.ipynb")
		s.pass("basic")
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
		b.leave()
		again := s.open("basic.ipynb")
		again.clear("a")
		again.save()
		again.leave()
		require.Empty(t, s.open("basic.ipynb").cell("a").Outputs, "outputs cleared by hand stay cleared")
	})
	t.Run("a laptop that is opened again has it all, and saves it", func(t *testing.T) {
		s := s.in(t)
		s.write("asleep.ipynb", cells("print('one')\n"+gate("asleep")+"print('two')"))
		a := s.open("asleep.ipynb")
		id := a.start("a")
		a.until(id, "one")
		a.cell("a").Outputs = []output{{Type: "stream", Name: "stdout", Text: "one\n"}}
		a.sleep()
		s.pass("asleep")
		s.shows("asleep.ipynb", "a", "one\ntwo\n")
		a.save() // before it has come back
		require.Equal(t, "one\ntwo\n", s.file("asleep.ipynb").Cells[0].shown())
		a.wake()
		a.until(id, "two")
		a.cell("a").Outputs = s.file("asleep.ipynb").Cells[0].Outputs
		a.save()
	})
	t.Run("images, tracebacks, progress bars, updated and cleared displays", func(t *testing.T) {
		s := s.in(t)
		s.write("rich.ipynb", cells(gate("rich")+strings.ReplaceAll(`
from IPython.display import Image, display, clear_output, update_display
import base64, sys
display(Image(data=base64.b64decode('PNG'), format='png'))`, "PNG", pixel),
			"for i in range(0, 101, 10): print(f'\\r{i:3}% ' + '#' * (i // 10), end='', file=sys.stderr)",
			"h = display('0 of 2', display_id='steps')\nupdate_display('1 of 2', display_id='steps')",
			"update_display('2 of 2', display_id='steps')\nprint('gone'); clear_output(wait=True); print('here')",
			"{'a': 1}", "1 / 0", "print('never')"))
		a := s.open("rich.ipynb")
		for _, c := range a.nb.Cells {
			a.start(c.ID)
		}
		a.leave()
		s.pass("rich")
		s.shows("rich.ipynb", "f", "[ZeroDivisionError]")
		nb := s.read("rich.ipynb").Content
		require.Equal(t, pixel, strings.TrimSpace(nb.Cells[0].Outputs[0].Data["image/png"].(string)))
		require.Equal(t, "100% ##########", nb.Cells[1].shown())
		require.Equal(t, "stderr", nb.Cells[1].Outputs[0].Name)
		require.Equal(t, "['2 of 2']", nb.Cells[2].shown())
		require.Equal(t, "here\n", nb.Cells[3].shown())
		require.Equal(t, "[{'a': 1}]", nb.Cells[4].shown())
		require.Equal(t, 5, *nb.Cells[4].Outputs[0].Count)
		require.Contains(t, strings.Join(nb.Cells[5].Outputs[0].Traceback, "\n"), "division by zero")
		require.Empty(t, nb.Cells[6].Outputs, "what was queued behind the error never ran")
		require.Nil(t, nb.Cells[6].Count)
	})
	t.Run("run all, and a restart in between", func(t *testing.T) {
		s := s.in(t)
		s.write("restart.ipynb", cells("print('one')\n"+gate("never"), "print('two')"))
		a := s.open("restart.ipynb")
		id := a.start("a")
		a.start("b")
		a.until(id, "one")
		a.leave()
		s.shows("restart.ipynb", "a", "one\n")
		require.Equal(t, 200, s.call("POST", "api/kernels/"+a.kernel+"/restart", nil, nil).StatusCode)
		s.shows("restart.ipynb", "a", "one\n[DeadKernelError]")
		require.Empty(t, s.read("restart.ipynb").Content.Cells[1].Outputs)
		b := s.open("restart.ipynb")
		b.until(b.start("b"), "two")
		b.leave()
		s.shows("restart.ipynb", "b", "two\n")
		require.Equal(t, "one\n[DeadKernelError]", s.read("restart.ipynb").Content.Cells[0].shown())
	})
	t.Run("a hundred megabytes", func(t *testing.T) {
		s := s.in(t)
		s.write("much.ipynb", cells(gate("much")+"for i in range(1000): print(i, 'x' * 100_000)\nprint('the end')"))
		a := s.open("much.ipynb")
		a.start("a")
		a.leave()
		s.pass("much")
		var text string
		require.Eventually(t, func() bool {
			text = s.read("much.ipynb").Content.Cells[0].shown()
			return strings.HasSuffix(text, "the end\n")
		}, 2*patience, 300*time.Millisecond)
		require.True(t, strings.HasPrefix(text, "0 xxx"), "the beginning stays")
		require.Regexp(t, `\[nbserv\] 8\d\.\d MB of output are left out here: a cell keeps 10\.0 MB`, text)
		require.Less(t, len(text), 11<<20)
	})
	t.Run("a notebook of nbformat 4.4, whose cells have no ids", func(t *testing.T) {
		s := s.in(t)
		nb := cells("print('one')\n"+gate("old")+"print('two')", "print('twin')", "print('twin')")
		nb.Minor = 4
		for i := range nb.Cells {
			nb.Cells[i].ID = ""
		}
		s.write("old.ipynb", nb)
		a := s.open("old.ipynb")
		a.nb.Minor = 5 // JupyterLab makes ids, which are nobody's but the page's until it saves
		a.nb.Cells[0].ID, a.nb.Cells[1].ID, a.nb.Cells[2].ID = "x", "y", "z"
		id := a.start("x")
		a.start("y")
		a.until(id, "one")
		a.leave()
		s.pass("old")
		require.Eventually(t, func() bool { return s.read("old.ipynb").Content.Cells[0].shown() == "one\ntwo\n" }, patience, 10*time.Millisecond)
		s.idle(a.kernel)
		require.Empty(t, s.read("old.ipynb").Content.Cells[1].Outputs, "whose outputs these are nobody knows")
	})
	t.Run("an input whose page has gone", func(t *testing.T) {
		s := s.in(t)
		s.write("input.ipynb", cells("print('hello', flush=True)\nname = input('name:')\nprint('hi', name)", "input('interrupt me')"))
		a := s.open("input.ipynb")
		a.until(a.start("a"), "hello")
		a.start("b")
		a.leave()
		s.shows("input.ipynb", "a", "hello\nname:")
		type execution struct {
			ID    string `json:"msg_id"`
			Cell  string `json:"cell_id"`
			State string
			Input *struct {
				Prompt   string
				Password bool
			}
		}
		var list []execution
		require.Equal(t, 200, s.call("GET", "api/kernels/"+a.kernel+"/executions", nil, &list).StatusCode)
		require.Len(t, list, 2)
		require.Equal(t, "name:", list[0].Input.Prompt)
		require.Equal(t, "queued", list[1].State)
		answer := "api/kernels/" + a.kernel + "/executions/" + list[0].ID + "/input"
		require.Equal(t, 400, s.call("POST", answer, map[string]any{"value": 7}, nil).StatusCode)
		require.Equal(t, 400, s.call("POST", answer, map[string]any{}, nil).StatusCode)
		require.Equal(t, 404, s.call("GET", "api/kernels/none/executions", nil, nil).StatusCode)
		require.Equal(t, 204, s.call("POST", answer, map[string]any{"value": "Ada"}, nil).StatusCode)
		s.shows("input.ipynb", "a", "hello\nname: Ada\nhi Ada\n")
		late := s.call("POST", answer, map[string]any{"value": "late"}, nil).StatusCode
		require.Contains(t, []int{404, 409}, late, "it has ended, or is about to: it waits for nothing")
		s.shows("input.ipynb", "b", "interrupt me")
		require.Equal(t, 204, s.call("POST", "api/kernels/"+a.kernel+"/interrupt", nil, nil).StatusCode)
		s.shows("input.ipynb", "b", "interrupt me\n[KeyboardInterrupt]")
	})
	t.Run("a notebook that is renamed while it runs", func(t *testing.T) {
		s := s.in(t)
		s.write("before.ipynb", cells("print('one')\n"+gate("renamed")+"print('two')"))
		a := s.open("before.ipynb")
		a.until(a.start("a"), "one")
		require.Equal(t, 200, s.call("PATCH", "api/contents/before.ipynb", map[string]any{"path": "after.ipynb"}, nil).StatusCode)
		require.Equal(t, 200, s.call("PATCH", "api/sessions/"+a.id, map[string]any{"path": "after.ipynb"}, nil).StatusCode)
		a.leave()
		s.pass("renamed")
		s.shows("after.ipynb", "a", "one\ntwo\n")
		resp, err := s.ask("GET", "files/after.ipynb", nil, s.bearer())
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Contains(t, string(resp.body), `"two\n"`, "a download has it")
		// The file gets it when the last page has been gone for a while.
		require.Eventually(t, func() bool { return s.file("after.ipynb").Cells[0].shown() == "one\ntwo\n" }, patience, 100*time.Millisecond)
		require.Equal(t, 1, *s.file("after.ipynb").Cells[0].Count)
	})
}

// pixel is a picture of one.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// A server that is killed, and then the kernels' host as well: what cells print meanwhile is in the notebook, or the gap is.
func TestClosedPageOverRestarts(t *testing.T) {
	s := prepare(t, "--kernel-host=spawn")
	s.run()
	s.write("n.ipynb", cells("print('one')\n"+gate("two")+"print('two')\n"+gate("three")+"print('three')\n"+gate("four")+"print('four')"))
	a := s.open("n.ipynb")
	a.until(a.start("a"), "one")
	a.leave()
	s.shows("n.ipynb", "a", "one\n")
	s.stop(syscall.SIGKILL)
	s.pass("two")
	s.run()
	s.shows("n.ipynb", "a", "one\ntwo\n")
	b := s.open("n.ipynb")
	require.Equal(t, a.kernel, b.kernel)
	s.stop(syscall.SIGKILL) // a page is there, and its server is not
	s.run()
	s.pass("three")
	s.shows("n.ipynb", "a", "one\ntwo\nthree\n")
	b.save()
	require.Equal(t, "one\ntwo\nthree\n", s.file("n.ipynb").Cells[0].shown())

	host, err := os.ReadFile(filepath.Join(s.state, "host.json"))
	require.NoError(t, err)
	var note struct{ PID int }
	require.NoError(t, json.Unmarshal(host, &note), "%s", host)
	require.NoError(t, syscall.Kill(note.PID, syscall.SIGKILL))
	s.stop(syscall.SIGKILL)
	s.run()
	const gap = "one\ntwo\nthree\n[nbserv] some of this cell's messages are no longer kept, and not shown here\n"
	s.shows("n.ipynb", "a", gap)
	s.pass("four")
	s.shows("n.ipynb", "a", gap+"four\n")
	require.Eventually(t, func() bool {
		var list []any
		s.call("GET", "api/kernels/"+a.kernel+"/executions", nil, &list)
		return len(list) == 0
	}, patience, 50*time.Millisecond, "it ends")
	require.Equal(t, 204, s.call("DELETE", "api/kernels/"+a.kernel, nil, nil).StatusCode)
}
