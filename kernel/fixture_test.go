package kernel_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// fixture is a Manager of scripted kernels.
type fixture struct {
	*kernel.Manager
	t     *testing.T
	cfg   kernel.Config
	specs *kernel.Specs
	prov  *kerneltest.Provisioner
	reg   *prometheus.Registry
}

// newFixture makes a Manager with the kernelspecs "synth", the default, and "synth-tcp".
func newFixture(t *testing.T, cfg kernel.Config, o kerneltest.Options) *fixture {
	t.Helper()
	return newFixtureFunc(t, cfg, func(kernel.Launch) (kerneltest.Options, error) { return o, nil })
}

func newFixtureFunc(t *testing.T, cfg kernel.Config, options func(kernel.Launch) (kerneltest.Options, error)) *fixture {
	t.Helper()
	data := t.TempDir()
	for name, transport := range map[string]string{"synth": "ipc", "synth-tcp": "tcp"} {
		kerneltest.WriteSpec(t, data, name, map[string]any{
			"argv":     []string{"synthkernel"}, // f.prov runs no program
			"metadata": map[string]any{"nbserv": map[string]string{"transport": transport}},
		})
	}
	specs := kernel.NewSpecs(kernel.SpecsConfig{DataDirs: []string{data}, DefaultName: "synth", NoNativeKernel: true})
	if cfg.RuntimeDir == "" {
		dir, err := os.MkdirTemp("", "r") // t.TempDir's paths are too long for unix sockets
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		cfg.RuntimeDir = dir
	}
	if cfg.StateDir == "" && cfg.Journal == (kernel.JournalLimits{}) { // those are of journals in memory
		cfg.StateDir = t.TempDir()
	}
	f := &fixture{t: t, cfg: cfg, specs: specs, prov: kerneltest.NewProvisionerFunc(t, options)}
	f.manage()
	return f
}

// manage makes the fixture's Manager, or the next one.
func (f *fixture) manage() {
	f.t.Helper()
	f.reg = prometheus.NewRegistry()
	m := kernel.NewManager(f.cfg, f.specs, f.prov, f.reg)
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(f.t, m.Close(ctx))
	})
	require.NoError(f.t, m.Recover(f.t.Context()))
	f.Manager = m
}

// next leaves the kernels to a next Manager.
func (f *fixture) next() {
	f.t.Helper()
	require.NoError(f.t, f.Leave(f.t.Context()))
	f.manage()
}

func (f *fixture) start() string {
	f.t.Helper()
	s, err := f.Start(f.t.Context(), kernel.StartOptions{})
	require.NoError(f.t, err)
	return s.ID
}

// waitState waits for an execution_state.
func (f *fixture) waitState(id, state string) kernel.Status {
	f.t.Helper()
	var s kernel.Status
	require.Eventually(f.t, func() bool {
		var err error
		s, err = f.Get(id)
		require.NoError(f.t, err)
		return s.ExecutionState == state
	}, patience, time.Millisecond, "the kernel did not become %s", state)
	return s
}

// frontend is a client with what it received.
type frontend struct {
	kernel.Client
	t       *testing.T
	session string
	got     []kernel.Entry
}

func (f *fixture) attach(id string) *frontend {
	f.t.Helper()
	return f.attachAs(id, uuid.NewString(), nil)
}

func (f *fixture) attachAs(id, session string, since *kernel.Position) *frontend {
	f.t.Helper()
	c, err := f.Attach(id, kernel.AttachOptions{ClientSession: session, Since: since})
	require.NoError(f.t, err)
	return &frontend{Client: c, t: f.t, session: session}
}

// run sends code.
func (c *frontend) run(text string) *kernel.Message {
	c.t.Helper()
	m := code(c.t, c.session, text)
	require.NoError(c.t, c.Send(m))
	return m
}

// until reads up to the first entry that last accepts, and returns all of it.
func (c *frontend) until(last func(kernel.Entry) bool) []kernel.Entry {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		for i, e := range c.got {
			if last(e) {
				all := c.got[: i+1 : i+1]
				c.got = c.got[i+1:]
				return all
			}
		}
		var buf [32]kernel.Entry
		n, err := c.Next(ctx, buf[:])
		require.NoError(c.t, err, "waiting after %s", describe(c.got))
		c.got = append(c.got, buf[:n]...)
	}
}

// ended matches the idle status of m, once its reply has been seen too.
func ended(m *kernel.Message) func(kernel.Entry) bool {
	reply, idle := false, false
	return func(e kernel.Entry) bool {
		if e.Message == nil || e.Message.Parent.MsgID != m.Header.MsgID {
			return false
		}
		reply = reply || strings.HasSuffix(e.Message.Header.MsgType, "_reply")
		idle = idle || state(e) == "idle"
		return reply && idle
	}
}

func state(e kernel.Entry) string {
	if e.Message == nil || e.Message.Header.MsgType != "status" {
		return ""
	}
	var c struct {
		ExecutionState string `json:"execution_state"`
	}
	_ = json.Unmarshal(e.Message.Parts[kernel.PartContent], &c)
	return c.ExecutionState
}

// describe lists entries as "status:busy stream execute_reply".
func describe(list []kernel.Entry) string {
	var words []string
	for _, e := range list {
		switch {
		case e.Gap != nil:
			words = append(words, "gap")
		case e.Message == nil:
			words = append(words, [...]string{"", "", "attached", "detached"}[e.Kind])
		case state(e) != "":
			words = append(words, "status:"+state(e))
		default:
			words = append(words, e.Message.Header.MsgType)
		}
	}
	return strings.Join(words, " ")
}

// content decodes the content of the last message of a type.
func content(t *testing.T, list []kernel.Entry, kind string) map[string]any {
	t.Helper()
	for i := len(list) - 1; i >= 0; i-- {
		if m := list[i].Message; m != nil && m.Header.MsgType == kind {
			var c map[string]any
			require.NoError(t, json.Unmarshal(m.Parts[kernel.PartContent], &c))
			return c
		}
	}
	require.FailNow(t, "no such message", "%s in %s", kind, describe(list))
	return nil
}
