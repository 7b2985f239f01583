package codeinterpreter

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// runQueue runs the session's executions, one after the other, until none is left. At ctx's end those that wait are
// told that the server stops; the one that runs goes on in its kernel.
func (s *session) runQueue(ctx context.Context) {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		e := s.queue[0]
		s.queue = s.queue[1:]
		s.working = e
		s.mu.Unlock()

		s.run(ctx, e)

		s.mu.Lock()
		s.working = nil
		s.used = time.Now()
		s.mu.Unlock()
	}
}

var errStopping = fault.New(fault.Busy, "the server is stopping; the code goes on where kernels outlive it: ask for the operation's id later")

// run runs e to its end.
func (s *session) run(ctx context.Context, e *execution) {
	select {
	case <-ctx.Done():
		e.fail(errStopping)
		return
	case <-e.cancelled:
		e.finish(&outcome{State: canceled, Error: &apiError{codeCanceled, "it was cancelled before it began"}})
		return
	default:
	}
	o, err := s.attempt(ctx, e)
	switch {
	case err == nil:
		e.finish(o)
	case ctx.Err() != nil:
		e.fail(errStopping)
	case e.kept: // who asks again later shall learn why
		e.finish(&outcome{State: failed, Error: &apiError{codeOfError(err), fault.Message(err)}})
	default:
		e.fail(err)
		s.drop(e)
	}
}

// drop forgets an execution that has no outcome.
func (s *session) drop(e *execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.executions, e.id)
}

// place is where code runs.
type place struct {
	kernelID string
	execute  func(context.Context, kernel.ExecuteRequest) iter.Seq2[kernel.Entry, error]
	end      func() // gives up what was made for this execution alone
	note     string // what the client should know about the place
}

// place finds or makes where e runs.
func (s *session) place(ctx context.Context, e *execution) (place, error) {
	if e.request.Fresh {
		return s.freshPlace(ctx)
	}
	anew, err := s.start(ctx)
	if err != nil {
		return place{}, err
	}
	p := place{kernelID: s.kernel(), end: func() {}}
	p.execute = func(ctx context.Context, r kernel.ExecuteRequest) iter.Seq2[kernel.Entry, error] {
		return s.execute(ctx, p.kernelID, r)
	}
	if anew {
		s.dropLine(0) // it is the old kernel's
		p.note = "[the session's kernel had ended, and this is a new one: its variables are gone, its files are there]"
	}
	return p, nil
}

// freshPlace is a kernel for one execution, in the session's folder.
func (s *session) freshPlace(ctx context.Context) (place, error) {
	o := s.pool.warm.Mark(s.pool.startOptions(s.folder))
	if _, err := s.pool.of.host.Start(ctx, o); err != nil {
		return place{}, err
	}
	return place{
		kernelID: o.ID,
		execute: func(ctx context.Context, r kernel.ExecuteRequest) iter.Seq2[kernel.Entry, error] {
			return s.pool.of.host.Execute(ctx, o.ID, r)
		},
		end: func() { _ = s.pool.of.host.Shutdown(context.WithoutCancel(ctx), o.ID) },
	}, nil
}

// maxAttempts bounds how often code is sent that the kernel did not begin with.
const maxAttempts = 5

// attempt runs e and gives what it came to; an error is the server's trouble, not the code's.
func (s *session) attempt(ctx context.Context, e *execution) (*outcome, error) {
	at, err := s.place(ctx, e)
	if err != nil {
		return nil, err
	}
	defer at.end()
	st, err := s.pool.of.host.Get(at.kernelID)
	if err != nil {
		return nil, err
	}
	sc, err := s.script(e)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	run := runRow{started: began.UTC(), client: uuid.NewString(), kernelID: at.kernelID, position: st.Position}
	if err := e.begin(ctx, run); err != nil {
		return nil, err
	}
	guard := s.guard(ctx, e, at.kernelID, e.request.Timeout)
	defer guard.stop()
	var r adapters.Result
	for range maxAttempts {
		r, err = s.collect(e, at.execute(ctx, kernel.ExecuteRequest{Code: sc.code, StoreHistory: true, ClientSession: run.client}))
		// A kernel that has just failed at somebody else's cell, which asked for it, aborts what comes after that:
		// it has not begun with our code.
		if err != nil || r.Status != "aborted" || r.Error.KernelDied() || guard.acted() {
			break
		}
		select {
		case <-time.After(abortPause):
		case <-ctx.Done():
		}
	}
	if err != nil {
		return nil, err
	}
	o := outcomeOf(r, time.Since(began))
	if at.note != "" {
		o.say(at.note)
	}
	guard.stop()
	guard.explain(&o)
	sc.finish(&o)
	return &o, nil
}

// abortPause is waited for a kernel that aborts what it is sent. ipykernel does so for 0.0 s by default.
const abortPause = 50 * time.Millisecond

// collect reads what belongs to e.
func (s *session) collect(e *execution, entries iter.Seq2[kernel.Entry, error]) (adapters.Result, error) {
	c := adapters.NewCollector(s.limits(e))
	for entry, err := range entries {
		if err != nil {
			return c.Result(), err
		}
		c.Add(entry)
		e.reach(entry.Seq)
	}
	return c.Result(), nil
}

func (s *session) limits(e *execution) adapters.Limits {
	l := s.pool.of.cfg.Output
	if n := e.request.MaxStream; n > 0 && (l.StreamBytes == 0 || n < l.StreamBytes) {
		l.StreamBytes = n
	}
	return l
}

// guard ends an execution that takes too long or is not wanted any more: it interrupts the kernel and, when that does
// not help, restarts it.
type guard struct {
	session  *session
	kernelID string
	timeout  time.Duration
	quit     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup

	mu        sync.Mutex
	why       string // guarded by mu: codeTimeout, codeCanceled, "" for nothing done
	restarted bool   // guarded by mu
}

// guard starts to watch over e; stop ends that.
func (s *session) guard(ctx context.Context, e *execution, kernelID string, timeout time.Duration) *guard {
	g := &guard{session: s, kernelID: kernelID, timeout: timeout, quit: make(chan struct{})}
	g.wg.Go(func() { g.watch(ctx, e.cancelled) })
	return g
}

// stop returns when g does nothing any more. Idempotent.
func (g *guard) stop() {
	g.once.Do(func() { close(g.quit) })
	g.wg.Wait()
}

func (g *guard) acted() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why != ""
}

func (g *guard) act(why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why = why
}

func (g *guard) watch(ctx context.Context, cancelled <-chan struct{}) {
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case <-g.quit:
		return
	case <-ctx.Done():
		return
	case <-cancelled:
		g.act(codeCanceled)
	case <-timer.C:
		g.act(codeTimeout)
	}
	g.session.pool.interrupts.Inc()
	again := time.NewTicker(interruptEvery)
	defer again.Stop()
	timer.Reset(g.session.pool.of.cfg.Grace)
	for waiting := true; waiting; {
		// An interrupt that comes before the code has begun is lost in most kernels.
		if err := g.session.pool.of.host.Interrupt(ctx, g.kernelID); err != nil && !isGone(err) {
			g.session.pool.of.cfg.Logger.Warn("cannot interrupt an execution", "kernel_id", g.kernelID, "err", err)
		}
		select {
		case <-g.quit:
			return
		case <-ctx.Done():
			return
		case <-again.C:
		case <-timer.C:
			waiting = false
		}
	}
	g.mu.Lock()
	g.restarted = true
	g.mu.Unlock()
	if err := g.session.pool.of.host.Restart(ctx, g.kernelID); err != nil && !isGone(err) {
		g.session.pool.of.cfg.Logger.Error("cannot restart a kernel whose code does not end", "kernel_id", g.kernelID, "err", err)
	}
}

const interruptEvery = time.Second

// explain says in o what g did.
func (g *guard) explain(o *outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var what string
	switch {
	case g.why == "" || o.State == succeeded && g.why == codeTimeout && !g.restarted && o.Error == nil && o.Duration < g.timeout:
		return
	case g.why == codeTimeout:
		what = fmt.Sprintf("the code took longer than the %v of its timeout and was interrupted", g.timeout)
	default:
		what = "the execution was cancelled"
	}
	if g.restarted {
		what += "; it did not stop, so the session's kernel was restarted: its variables are gone"
	}
	o.say("[" + what + "]")
	o.fail(g.why, what)
	if g.why == codeCanceled {
		o.State = canceled
	}
}

// script is what is sent to a kernel for an execution, and what is to be done after it.
type script struct {
	code   string
	finish func(*outcome)
}

// script makes the kernel's code of e's.
func (s *session) script(e *execution) (script, error) {
	switch {
	case !e.request.Shell:
		return script{e.request.Code, func(*outcome) {}}, nil
	case s.pool.Shell:
		return s.bashScript(e)
	}
	stdin := "None"
	if e.request.Stdin != nil {
		stdin = pythonText(*e.request.Stdin)
	}
	return script{`__import__("nbserv_session").run(` + pythonText(e.request.Code) + ", " + stdin + ")", pythonExit}, nil
}

// pythonText is a literal of Python: JSON's are, as encoding/json writes them, without halves of characters.
func pythonText(s string) string {
	return string(encode(s))
}

// pythonExit takes the value of nbserv_session.run for the exit code that it is.
func pythonExit(o *outcome) {
	var code int
	if o.Value == nil || json.Unmarshal(o.Value, &code) != nil {
		code = exitOf(o)
	}
	o.Value, o.Text, o.Outputs = nil, nil, nil
	o.exit(code)
}

// exitOf is the exit code of a command that has none: as timeout(1) and shells say it.
func exitOf(o *outcome) int {
	switch {
	case o.Error == nil:
		return 0
	case o.Error.Code == codeTimeout:
		return 124
	case o.Error.Code == codeCanceled:
		return 130
	case o.Error.Code == codeKernelDied:
		return 137
	}
	return 1
}

// exit notes the exit code of a shell command. One that is not 0 is the command's answer, no error of its own.
func (o *outcome) exit(code int) {
	o.ExitCode = &code
	if o.Error != nil && o.Error.Code == codeUserError {
		o.Error = nil
	}
	if code != 0 && o.State == succeeded {
		o.State = failed
	}
}

// bashScript has bash read the command from a file: bash_kernel types what it is sent at a terminal, where it would be
// echoed, cut and expanded. stderr comes back through a file as well, because a terminal has only one output. The code
// is on stdout's way: it streams.
func (s *session) bashScript(e *execution) (script, error) {
	name := uuid.NewString()
	dir := s.home() + "/" + handOver + "/"
	file := func(kind string) string { return shellQuote(dir + name + "." + kind) }
	// What exits the shell ends it; bash_kernel starts another one, which does not know the exit code.
	text := "trap 'echo $? > " + strings.ReplaceAll(file("exit"), "'", `'\''`) + "' EXIT\n" + e.request.Code + "\n"
	if err := s.folder.give(name+".sh", text); err != nil {
		return script{}, err
	}
	stdin := "/dev/null"
	if e.request.Stdin != nil {
		stdin = file("in")
		if err := s.folder.give(name+".in", *e.request.Stdin); err != nil {
			return script{}, err
		}
	}
	code := ". " + file("sh") + " 2>" + file("err") + " <" + stdin + `; eval "trap - EXIT; (exit $?)" # ` + comment(e.request.Code)
	finish := func(o *outcome) {
		limit := int64(s.limits(e).StreamBytes)
		if limit == 0 {
			limit = 1 << 20
		}
		note := o.Stderr
		o.Stderr = s.folder.take(name+".err", limit)
		o.say(note)
		exited := strings.TrimSpace(s.folder.take(name+".exit", 16))
		s.folder.take(name+".sh", 0)
		s.folder.take(name+".in", 0)
		o.bashExit(exited)
	}
	return script{code, finish}, nil
}

// bashExit finds the exit code of a command in bash_kernel: what the shell noted as it exited, or what the kernel gave
// as the value of an error without a name.
func (o *outcome) bashExit(exited string) {
	if code, err := strconv.Atoi(exited); err == nil {
		o.Stdout = strings.TrimSuffix(strings.TrimSuffix(o.Stdout, "\n"), "Restarting Bash") // the kernel's own word
		o.exit(code)
		return
	}
	if o.Error != nil && o.Error.Code == codeUserError {
		if code, err := strconv.Atoi(strings.TrimPrefix(o.Error.Message, ": ")); err == nil {
			o.exit(code)
			return
		}
	}
	o.exit(exitOf(o))
}

// comment is a command's first words, for those who watch the kernel in JupyterLab.
func comment(command string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(command), "\n")
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" ./-_=|>&,:", r) {
			return r
		}
		return '?'
	}, line)
	return plain[:min(len(plain), 80)]
}
