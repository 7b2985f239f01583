package faults

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crew is goroutines that use a plant until they are told to stop; the first that finds a broken promise ends them all.
type crew struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	stop   chan struct{}
}

func newCrew(t *testing.T) *crew {
	ctx, cancel := context.WithCancelCause(t.Context())
	return &crew{ctx: ctx, cancel: cancel, stop: make(chan struct{})}
}

// goes runs step again and again.
func (c *crew) goes(step func(i int) error) {
	c.wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-c.stop:
				return
			case <-c.ctx.Done():
				return
			default:
			}
			if err := step(i); err != nil {
				c.cancel(err)
				return
			}
		}
	})
}

// pause waits, unless somebody has found something.
func (c *crew) pause(d time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(d):
	}
}

func (c *crew) finish(t *testing.T) {
	t.Helper()
	close(c.stop)
	c.wg.Wait()
	require.NoError(t, context.Cause(c.ctx))
	c.cancel(nil)
}

// flood is how many outputs an execution of the load has.
const flood = 2000

// reader has a page run floods on a kernel and checks that each is whole (P4, P5, P6).
func (c *crew) reader(t *testing.T, p *plant, kernel string) *page {
	g := newPage(p, kernel)
	t.Cleanup(g.close)
	c.goes(func(int) error {
		o, err := g.run(c.ctx, fmt.Sprintf("flood %d 100", flood))
		if err == nil {
			err = o.whole(flood)
		}
		if err != nil {
			return fmt.Errorf("kernel %s: %w", kernel, err)
		}
		return nil
	})
	return g
}

// creator creates and now and then deletes sessions of a few names, which others use too.
func (c *crew) creator(p *plant, h *history, who int) {
	dice := rand.New(rand.NewPCG(uint64(who), 7))
	c.goes(func(int) error {
		name := fmt.Sprintf("shared%d.ipynb", dice.IntN(3))
		o := op{kind: create, name: name, began: time.Now(), answered: true}
		var m model
		switch status := p.ask(c.ctx, "POST", "api/sessions", session(name), &m); {
		case status == 201:
			o.id, o.kernel = m.ID, m.Kernel.ID
			h.add(o)
		case status != 0 && status != 503:
			return fmt.Errorf("a create of %s was answered with %d", name, status)
		}
		if m.ID != "" && dice.IntN(20) == 0 {
			d := op{kind: remove, name: name, began: time.Now()}
			d.answered = p.ask(c.ctx, "DELETE", "api/sessions/"+m.ID, nil, nil) == 204
			h.add(d)
		}
		return nil
	})
}

// words is how often a saved file repeats its number.
const words = 20_000

// saver saves a file again and again.
func (c *crew) saver(p *plant, h *history, name string) {
	c.goes(func(i int) error {
		o := op{kind: save, name: name, value: i + 1, began: time.Now()}
		status := p.ask(c.ctx, "PUT", "api/contents/"+name, content(strings.Repeat(strconv.Itoa(i+1)+" ", words)), nil)
		o.answered = status == 200 || status == 201
		h.add(o)
		if !o.answered && status != 0 && status != 503 {
			return fmt.Errorf("a save of %s was answered with %d", name, status)
		}
		return nil
	})
}

// looker reads the file that a saver saves: it is always whole (P7).
func (c *crew) looker(p *plant, h *history, name string) {
	c.goes(func(int) error {
		o := op{kind: read, name: name, began: time.Now(), answered: true}
		var file struct{ Content string }
		switch status := p.ask(c.ctx, "GET", "api/contents/"+name, nil, &file); {
		case status == 0 || status == 503: // nobody is there
			c.pause(time.Millisecond)
			return nil
		case status != 200:
			return fmt.Errorf("a read of %s was answered with %d", name, status)
		}
		number, _, _ := strings.Cut(file.Content, " ")
		if file.Content != strings.Repeat(number+" ", words) {
			return fmt.Errorf("%s is not whole: %.100q", name, file.Content)
		}
		var err error
		o.value, err = strconv.Atoi(number)
		h.add(o)
		return err
	})
}

// TestServerKilledUnderLoad_P1_P2_P3_P4_P5_P7 kills the server again and again while clients create, delete, execute, read
// and save. Kernels keep their processes, pages read on, and nothing acknowledged is lost.
func TestServerKilledUnderLoad_P1_P2_P3_P4_P5_P7(t *testing.T) {
	p := build(t, "--kernel-host=spawn")
	pids := map[string]string{}
	crew, h := newCrew(t), &history{}
	var pages []*page
	for i := range 3 {
		var m model
		p.must("POST", "api/sessions", session(fmt.Sprintf("own%d.ipynb", i)), &m)
		pids[m.Kernel.ID] = p.pid(t, m.Kernel.ID)
		pages = append(pages, crew.reader(t, p, m.Kernel.ID))
		crew.creator(p, h, i)
	}
	p.must("PUT", "api/contents/saved.txt", content(strings.Repeat("0 ", words)), nil)
	crew.saver(p, h, "saved.txt")
	crew.looker(p, h, "saved.txt")
	for range times(5, 200) {
		crew.pause(time.Duration(100+rand.IntN(400)) * time.Millisecond)
		p.kill()
		p.start()
	}
	crew.finish(t)
	var left []model
	p.must("GET", "api/sessions", nil, &left)
	creates, reads := h.check(t, left)
	redials, gaps := 0, 0
	for _, g := range pages {
		redials, gaps = redials+g.redials, gaps+g.gaps
	}
	for id, pid := range pids {
		require.Equal(t, pid, p.pid(t, id), "the kernel's process is the one it was")
	}
	require.Positive(t, redials)
	require.Zero(t, gaps, "the kernel host lived, so it has all that was said")
	require.Positive(t, reads)
	t.Logf("%d creates, %d reads, %d requests in all, %d reconnects", creates, reads, len(h.ops), redials)
}

// pid asks a kernel for its process.
func (p *plant) pid(t *testing.T, kernel string) string {
	t.Helper()
	g := newPage(p, kernel)
	defer g.close()
	require.NoError(t, g.connect(t.Context()))
	g.send("pid", "execute_request", map[string]any{"code": "pid", "silent": false, "store_history": false, "allow_stdin": false, "stop_on_error": false})
	for {
		m, ok, err := g.next()
		require.NoError(t, err)
		require.True(t, ok)
		if m.Parent.ID == "pid" && m.Header.Type == "stream" {
			return strings.TrimSpace(m.Content.Text)
		}
	}
}

// TestHostKilledUnderLoad_P3_P4_P6 kills the kernel host. The next one adopts the kernels: the same processes, and where
// something may be missing, a notice says so. Every execution ends, that which was on its way too.
func TestHostKilledUnderLoad_P3_P4_P6(t *testing.T) {
	p := build(t, "--kernel-host=spawn")
	var m model
	p.must("POST", "api/sessions", session("own.ipynb"), &m)
	pid := p.pid(t, m.Kernel.ID)
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	host := p.hostPID(n)
	crew := newCrew(t)
	g := crew.reader(t, p, m.Kernel.ID)
	for range times(3, 50) {
		crew.pause(time.Duration(200+rand.IntN(300)) * time.Millisecond)
		require.NoError(t, syscall.Kill(host, syscall.SIGKILL))
		var next int
		require.Eventually(t, func() bool {
			next = p.newHost(host)
			return next != 0 || crew.ctx.Err() != nil
		}, patience, 5*time.Millisecond, "no host took over")
		require.NoError(t, context.Cause(crew.ctx))
		host = next
	}
	crew.pause(500 * time.Millisecond)
	crew.finish(t)
	require.Equal(t, pid, p.pid(t, m.Kernel.ID))
	t.Logf("%d notices of a gap", g.gaps)
}

// newHost is the process of the plant's kernel host, if it is another one than old; 0 is none.
func (p *plant) newHost(old int) int {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range procs {
		raw, err := os.ReadFile(file)
		if err != nil || !bytes.HasPrefix(raw, []byte(binary+"\x00host\x00")) || !bytes.Contains(raw, []byte(p.state)) {
			continue
		}
		if pid, _ := strconv.Atoi(strings.Split(file, "/")[2]); pid != old {
			return pid
		}
	}
	return 0
}

// TestKernelsKilledAndStopped_P6_P12 kills kernels, and stops and wakes them, while they work: every execution ends, and
// an end that was none of the code's says why.
func TestKernelsKilledAndStopped_P6_P12(t *testing.T) {
	p := build(t)
	var m model
	p.must("POST", "api/sessions", session("own.ipynb"), &m)
	g := newPage(p, m.Kernel.ID)
	defer g.close()
	dice := rand.New(rand.NewPCG(1, 2))
	deaths, given := 0, 0
	for i := range times(8, 200) {
		pid, err := strconv.Atoi(p.pid(t, m.Kernel.ID))
		require.NoError(t, err)
		stopped := dice.IntN(2) == 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			if stopped {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
				<-time.After(50 * time.Millisecond)
				_ = syscall.Kill(pid, syscall.SIGCONT)
			} else {
				p.awaitState(m.Kernel.ID, "busy")
				<-time.After(time.Duration(dice.IntN(20)) * time.Millisecond)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}()
		code := fmt.Sprintf("flood %d 100", flood)
		if !stopped {
			code += "\nsleep 60s" // it is killed in the middle
		}
		o, err := g.run(t.Context(), code)
		<-done
		require.NoError(t, err, "round %d", i)
		if stopped {
			require.Equal(t, "ok", o.status)
			require.NoError(t, o.whole(flood))
		} else {
			require.Equal(t, "error", o.status)
			require.Contains(t, o.evalue, "SIGKILL", "the cell says why")
			deaths++
		}
		if p.awaitState(m.Kernel.ID, "idle", "dead") == "dead" { // it died too often in a row: somebody has to want it
			p.ask(t.Context(), "GET", "api/kernels/"+m.Kernel.ID, nil, &m.Kernel)
			require.Contains(t, m.Kernel.Reason, "SIGKILL")
			p.must("POST", "api/kernels/"+m.Kernel.ID+"/restart", nil, nil)
			given++
		}
		p.awaitIdle(m.Kernel.ID)
	}
	require.Positive(t, deaths)
	t.Logf("%d executions ended by a death; %d times the server gave the kernel up", deaths, given)
}

// awaitIdle waits until a kernel that died is there again.
func (p *plant) awaitIdle(id string) {
	p.t.Helper()
	require.Equal(p.t, "idle", p.awaitState(id, "idle"), "the kernel does not come back")
}

// awaitState waits until a kernel has one of the states, and gives the one it has in the end.
func (p *plant) awaitState(id string, states ...string) (state string) {
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(tick) {
		var k struct {
			State string `json:"execution_state"`
		}
		if p.ask(p.t.Context(), "GET", "api/kernels/"+id, nil, &k) == 200 {
			if state = k.State; slices.Contains(states, state) {
				return state
			}
		}
	}
	return state
}

// TestDamagedStateStillStarts_P16 damages the database and the journals while nobody looks: the server starts, says what it
// set aside, and goes on with what lives.
func TestDamagedStateStillStarts_P16(t *testing.T) {
	p := build(t, "--kernel-host=inprocess")
	var m model
	p.must("POST", "api/sessions", session("own.ipynb"), &m)
	pid := p.pid(t, m.Kernel.ID)
	for range times(2, 20) {
		g := newPage(p, m.Kernel.ID)
		_, err := g.run(t.Context(), fmt.Sprintf("flood %d 100", 10*flood)) // more than memory keeps
		g.close()
		require.NoError(t, err)
		p.kill()
		journals, err := filepath.Glob(filepath.Join(p.state, "kernels", "*", "journal", "*"))
		require.NoError(t, err)
		require.NotEmpty(t, journals)
		database, err := filepath.Glob(filepath.Join(p.state, "nbserv.db*"))
		require.NoError(t, err)
		for _, file := range append(journals, database...) {
			damage(t, file)
		}
		p.start()
		p.awaitIdle(m.Kernel.ID)
		require.Equal(t, pid, p.pid(t, m.Kernel.ID), "the kernel lives")
		p.must("POST", "api/sessions", session("another.ipynb"), nil)
	}
	aside, err := filepath.Glob(filepath.Join(p.state, "nbserv.db.damaged-*"))
	require.NoError(t, err)
	require.NotEmpty(t, aside, "nothing is deleted silently")
}

// damage flips bytes in a file.
func damage(t *testing.T, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	for i := 0; i < len(raw); i += 64 {
		raw[i] ^= 0xff
	}
	require.NoError(t, os.WriteFile(file, raw, 0o600))
}
