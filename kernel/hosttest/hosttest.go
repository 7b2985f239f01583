// Package hosttest is what every kernel.Host passes: the Manager, and a Host whose kernels are in another process.
package hosttest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// patience bounds every wait: only a failing test waits so long.
const patience = 60 * time.Second

// NewManager makes a Manager of scripted kernels, with the kernelspecs "synth", the default, and "absent", whose
// process cannot be started. It is closed at the end of the test.
func NewManager(t testing.TB, cfg kernel.Config) *kernel.Manager {
	data := t.TempDir()
	kerneltest.WriteSpec(t, data, "synth", map[string]any{"metadata": map[string]any{"nbserv": map[string]string{"transport": "ipc"}}})
	kerneltest.WriteSpec(t, data, "absent", nil)
	specs := kernel.NewSpecs(kernel.SpecsConfig{DataDirs: []string{data}, DefaultName: "synth", NoNativeKernel: true})
	prov := kerneltest.NewProvisionerFunc(t, func(l kernel.Launch) (kerneltest.Options, error) {
		if l.Spec.Name == "absent" {
			return kerneltest.Options{}, fault.New(fault.Unstartable, "no such command")
		}
		return kerneltest.Options{}, nil
	})
	dir, err := os.MkdirTemp("", "r") // t.TempDir's paths are too long for unix sockets
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg.RuntimeDir = dir
	m := kernel.NewManager(cfg, specs, prov, nil)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, m.Close(ctx))
	})
	return m
}

// Run tests the Host that over makes of a Manager.
func Run(t *testing.T, over func(t *testing.T, m *kernel.Manager) kernel.Host) {
	s := &suite{host: over(t, NewManager(t, kernel.Config{RestartLimit: -1}))}
	for name, test := range map[string]func(*suite, *testing.T){
		"kernels start, are listed and end":            (*suite).lifecycle,
		"what cannot be is refused":                    (*suite).refusals,
		"an execution is bracketed and addressed":      (*suite).execution,
		"a second client of a session takes over":      (*suite).takeover,
		"a session comes back and reads on":            (*suite).detach,
		"a client reads on from a position":            (*suite).since,
		"what was not delivered comes again":           (*suite).confirm,
		"an observer sees everything":                  (*suite).observe,
		"an interrupt ends an execution":               (*suite).interrupt,
		"a restart keeps clients and journal":          (*suite).restart,
		"a kernel's death is explained":                (*suite).death,
		"a kernel's end reaches its clients":           (*suite).shutdown,
		"code runs without a client":                   (*suite).execute,
		"a kernel that starts is waited for":           (*suite).ready,
		"large and many messages come whole, in order": (*suite).bulk,
		"a slow client holds nobody up":                (*suite).slow,
		"the kernels can be watched":                   (*suite).watch,
		"what a kernel uses is told":                   (*suite).usage,
	} {
		t.Run(name, func(t *testing.T) { test(s, t) })
	}
	require.Empty(t, s.host.List(), "every test ends its kernels")
}

// suite is the Host under test.
type suite struct{ host kernel.Host }

// start starts a kernel that ends with the test.
func (s *suite) start(t *testing.T) string {
	t.Helper()
	st, err := s.host.Start(t.Context(), kernel.StartOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := s.host.Shutdown(context.Background(), st.ID); fault.KindOf(err) != fault.NotFound {
			require.NoError(t, err)
		}
	})
	return st.ID
}

// frontend is a client with what it received and its test has not looked at.
type frontend struct {
	kernel.Client
	t       *testing.T
	session string
	got     []kernel.Entry
}

func (s *suite) attach(t *testing.T, id string, o kernel.AttachOptions) *frontend {
	t.Helper()
	c, err := s.host.Attach(id, o)
	require.NoError(t, err)
	t.Cleanup(c.Detach)
	return &frontend{Client: c, t: t, session: o.ClientSession}
}

// page attaches a client of a new session.
func (s *suite) page(t *testing.T, id string) *frontend {
	return s.attach(t, id, kernel.AttachOptions{ClientSession: uuid.NewString()})
}

// request makes a message.
func (c *frontend) request(ch kernel.Channel, kind string, content any, buffers ...[]byte) *kernel.Message {
	c.t.Helper()
	header := map[string]string{"msg_id": uuid.NewString(), "msg_type": kind, "session": c.session, "version": "5.4"}
	parts := [4]json.RawMessage{nil, json.RawMessage("{}"), json.RawMessage("{}"), nil}
	var err error
	parts[kernel.PartHeader], err = json.Marshal(header)
	require.NoError(c.t, err)
	parts[kernel.PartContent], err = json.Marshal(content)
	require.NoError(c.t, err)
	m, err := kernel.NewMessage(ch, parts, buffers)
	require.NoError(c.t, err)
	return m
}

// run sends code.
func (c *frontend) run(code string) *kernel.Message {
	c.t.Helper()
	m := c.request(kernel.Shell, "execute_request", map[string]any{"code": code, "silent": false, "allow_stdin": true})
	require.NoError(c.t, c.Send(m))
	return m
}

// next gives the next entry.
func (c *frontend) next() kernel.Entry {
	c.t.Helper()
	if len(c.got) == 0 {
		ctx, cancel := context.WithTimeout(c.t.Context(), patience)
		defer cancel()
		var buf [32]kernel.Entry
		n, err := c.Next(ctx, buf[:])
		require.NoError(c.t, err)
		c.got = slices.Clone(buf[:n])
	}
	e := c.got[0]
	c.got = c.got[1:]
	return e
}

// until reads up to the first entry that last accepts, and returns all of it.
func (c *frontend) until(last func(kernel.Entry) bool) (all []kernel.Entry) {
	c.t.Helper()
	for {
		all = append(all, c.next())
		if last(all[len(all)-1]) {
			return all
		}
	}
}

// fails reads to the client's end and gives its reason.
func (c *frontend) fails() error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		n, err := c.Next(ctx, make([]kernel.Entry, 32))
		if err != nil {
			return err
		}
		require.Positive(c.t, n)
	}
}

// ended matches the end of what m asked for: its idle status and its reply, in either order.
func ended(m *kernel.Message) func(kernel.Entry) bool {
	reply, idle := false, false
	return func(e kernel.Entry) bool {
		if e.Message == nil || e.Message.Parent.MsgID != m.Header.MsgID {
			return false
		}
		reply = reply || e.Message.Channel == kernel.Shell
		idle = idle || word(e) == "status:idle"
		return reply && idle
	}
}

// is matches an entry by its word.
func is(w string) func(kernel.Entry) bool {
	return func(e kernel.Entry) bool { return word(e) == w }
}

// word is "status:busy", "stream", "gap", …
func word(e kernel.Entry) string {
	switch {
	case e.Gap != nil:
		return "gap"
	case e.Message == nil:
		return fmt.Sprintf("note:%d", e.Kind)
	case e.Message.Header.MsgType == "status":
		return "status:" + content(e)["execution_state"].(string)
	}
	return e.Message.Header.MsgType
}

func words(list []kernel.Entry) string {
	var all []string
	for _, e := range list {
		all = append(all, word(e))
	}
	return strings.Join(all, " ")
}

func content(e kernel.Entry) map[string]any {
	var c map[string]any
	_ = json.Unmarshal(e.Message.Parts[kernel.PartContent], &c)
	return c
}

// find is the content of the last entry with this word.
func find(t *testing.T, list []kernel.Entry, w string) map[string]any {
	t.Helper()
	for _, e := range slices.Backward(list) {
		if word(e) == w {
			return content(e)
		}
	}
	require.FailNow(t, "no such message", "%s in %s", w, words(list))
	return nil
}

// get waits for a Status that ok accepts.
func (s *suite) get(t *testing.T, id string, ok func(kernel.Status) bool) (st kernel.Status) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		st, err = s.host.Get(id)
		require.NoError(t, err)
		return ok(st)
	}, patience, time.Millisecond)
	return st
}
