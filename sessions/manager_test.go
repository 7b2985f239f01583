package sessions_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
)

func TestTheIdentityIsThePathOrElseTheName(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	a := create(t, m, notebook("a/Untitled.ipynb"))
	b := create(t, m, notebook("b/Untitled.ipynb"))
	named := create(t, m, sessions.CreateRequest{Name: "work", Type: "console"})
	require.Len(t, host.running(), 3)
	require.Equal(t, "work", named.Path)
	require.Equal(t, []string{a.ID, b.ID, named.ID}, ids(m.List(t.Context())))

	again := create(t, m, sessions.CreateRequest{Path: "a/Untitled.ipynb", Name: "other", Type: "file", KernelName: "ir"})
	require.Equal(t, a, again, "what there is wins")
	require.Equal(t, named, create(t, m, sessions.CreateRequest{Name: "work", Type: "console"}))
	require.Len(t, host.started(), 3)
}

func TestTheKernelStartsInTheNotebooksFolder(t *testing.T) {
	host := newFakeHost()
	m, err := sessions.New(t.Context(), sessions.Config{
		KernelDir: func(p string) string { require.Equal(t, "a/0b", p); return "/root/a" },
	}, host, &memory{})
	require.NoError(t, err)
	s := create(t, m, sessions.CreateRequest{Path: "a/0b", Name: "nb.ipynb", Type: "notebook", KernelName: "ir", KernelID: "mine"})
	require.Equal(t, []kernel.StartOptions{{
		ID: "mine", Spec: "ir", Cwd: "/root/a", Env: map[string]string{"JPY_SESSION_NAME": "/root/a/nb.ipynb"},
		Owner: `sessions {"id":"` + s.ID + `","path":"a/0b","name":"nb.ipynb","type":"notebook"}`,
	}}, host.started())
}

func TestCreateWithAKernelID(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	k, err := host.Start(t.Context(), kernel.StartOptions{})
	require.NoError(t, err)
	attached := create(t, m, sessions.CreateRequest{Path: "a", Type: "notebook", KernelID: k.ID, KernelName: "missing"})
	require.Equal(t, k, attached.Kernel)
	made := create(t, m, sessions.CreateRequest{Path: "b", Type: "notebook", KernelID: "made-up"})
	require.Equal(t, "made-up", made.Kernel.ID)

	host.set(t, k.ID, kernel.StateDead, "exit code 1")
	_, err = m.Create(t.Context(), sessions.CreateRequest{Path: "c", Type: "notebook", KernelID: k.ID})
	require.Equal(t, fault.Conflict, kind(err), "a dead kernel keeps its id")
}

func TestAKernelThatDoesNotStartLeavesNoSession(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	_, err := m.Create(t.Context(), sessions.CreateRequest{Path: "a", Type: "notebook", KernelName: "missing"})
	require.Equal(t, fault.Unstartable, kind(err))
	require.Empty(t, m.List(t.Context()))
	create(t, m, notebook("a"))
}

func TestAWriteThatFailsLeavesNoKernel(t *testing.T) {
	host, disk := newFakeHost(), &memory{}
	m, err := sessions.New(t.Context(), sessions.Config{}, host, disk)
	require.NoError(t, err)
	s := create(t, m, notebook("a"))

	disk.fail = errDisk
	_, err = m.Create(t.Context(), notebook("b"))
	require.Equal(t, fault.NoSpace, kind(err))
	_, err = m.Update(t.Context(), s.ID, sessions.Patch{KernelName: "ir"})
	require.Equal(t, fault.NoSpace, kind(err))
	_, err = m.Update(t.Context(), s.ID, sessions.Patch{Path: ptr("c")})
	require.Equal(t, fault.NoSpace, kind(err))
	require.Equal(t, []string{s.Kernel.ID}, host.running())
	require.Equal(t, []sessions.Session{s}, m.List(t.Context()))

	require.Equal(t, fault.NoSpace, kind(m.Delete(t.Context(), s.ID)))
	disk.fail = nil
	require.Equal(t, fault.Gone, kind(m.Delete(t.Context(), s.ID)), "its kernel went the first time")
	require.Equal(t, fault.NotFound, kind(m.Delete(t.Context(), s.ID)))
}

func TestASessionEndsWithItsKernel(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	for name, look := range map[string]func(sessions.Session) fault.Kind{
		"list": func(sessions.Session) fault.Kind {
			require.Empty(t, m.List(t.Context()))
			return fault.NotFound
		},
		"get": func(s sessions.Session) fault.Kind { _, err := m.Get(t.Context(), s.ID); return kind(err) },
		"update": func(s sessions.Session) fault.Kind {
			_, err := m.Update(t.Context(), s.ID, sessions.Patch{})
			return kind(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := create(t, m, notebook("a"))
			require.NoError(t, host.Shutdown(t.Context(), s.Kernel.ID))
			require.Equal(t, fault.NotFound, look(s))
			require.Equal(t, fault.NotFound, kind(m.Delete(t.Context(), s.ID)), "it is no more")
			next := create(t, m, notebook("a"))
			require.NotEqual(t, s.ID, next.ID)
			require.NoError(t, m.Delete(t.Context(), next.ID))
			require.Empty(t, host.running())
		})
	}
}

func TestDeleteAfterTheKernelWasDeletedIsGone(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	require.NoError(t, host.Shutdown(t.Context(), s.Kernel.ID))
	require.Equal(t, fault.Gone, kind(m.Delete(t.Context(), s.ID)))
	require.Equal(t, fault.NotFound, kind(m.Delete(t.Context(), s.ID)))
}

func TestADeadKernelIsReplacedByTheNextCreate(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	host.set(t, s.Kernel.ID, kernel.StateDead, "out of memory")
	got, err := m.Get(t.Context(), s.ID)
	require.NoError(t, err)
	require.Equal(t, "out of memory", got.Kernel.Reason)

	next := create(t, m, notebook("a"))
	require.Equal(t, s.ID, next.ID)
	require.NotEqual(t, s.Kernel.ID, next.Kernel.ID)
	require.Equal(t, []string{next.Kernel.ID}, host.running(), "the dead one is forgotten")
}

// reopened is a Manager of a server that finds what an earlier one left, without its kernels.
func reopened(t *testing.T, rows ...sessions.Row) (*sessions.Manager, *fakeHost) {
	t.Helper()
	host := newFakeHost()
	m, err := sessions.New(t.Context(), sessions.Config{}, host, &memory{rows: rows})
	require.NoError(t, err)
	return m, host
}

func lostRow() sessions.Row {
	return sessions.Row{ID: "5a", Path: "a", Name: "n", Type: "notebook", KernelID: "old", KernelName: "ir",
		Created: time.Unix(1e9, 0).UTC()}
}

func TestALostKernelKeepsItsSession_P2(t *testing.T) {
	m, host := reopened(t, lostRow())
	require.Empty(t, m.List(t.Context()), "a page would join its notebook to the dead kernel")
	s, err := m.Get(t.Context(), "5a")
	require.NoError(t, err)
	require.Equal(t, kernel.StateDead, s.Kernel.ExecutionState)
	require.NotEmpty(t, s.Kernel.Reason)
	require.Equal(t, "ir", s.Kernel.Spec)
	require.Equal(t, "old", s.Kernel.ID)

	renamed := patch(t, m, "5a", sessions.Patch{Path: ptr("b")})
	require.Equal(t, kernel.StateDead, renamed.Kernel.ExecutionState)
	next := create(t, m, notebook("b"))
	require.Equal(t, "5a", next.ID)
	require.True(t, next.Kernel.Alive())

	require.NoError(t, host.Shutdown(t.Context(), next.Kernel.ID))
	require.Empty(t, m.List(t.Context()), "this one was shut down, not lost")
}

// lostKernel is a Host that still knows how the kernel of lostRow ended.
func lostKernel(t *testing.T) (*sessions.Manager, *fakeHost) {
	t.Helper()
	m, host := reopened(t, lostRow())
	_, err := host.Start(t.Context(), kernel.StartOptions{ID: "old", Spec: "ir"})
	require.NoError(t, err)
	host.set(t, "old", kernel.StateDead, "the machine was restarted")
	host.lose("old")
	return m, host
}

// A kernel that the Host lost is treated as one that nobody knows any more, but for its reason; and is forgotten by
// the Host when its session gets another, or ends.
func TestAKernelThatTheHostLost_P2_P12(t *testing.T) {
	m, host := lostKernel(t)
	require.Empty(t, m.List(t.Context()))
	s, err := m.Get(t.Context(), "5a")
	require.NoError(t, err)
	require.Equal(t, "the machine was restarted", s.Kernel.Reason)
	next := create(t, m, notebook("a"))
	require.Equal(t, "5a", next.ID)
	require.Equal(t, []string{next.Kernel.ID}, host.running())

	m, host = lostKernel(t)
	s = create(t, m, sessions.CreateRequest{Path: "a", Type: "notebook", KernelID: "old"})
	require.Equal(t, "old", s.Kernel.ID)
	require.True(t, s.Kernel.Alive())
	require.Len(t, host.running(), 1)

	m, host = lostKernel(t)
	require.NoError(t, m.Delete(t.Context(), "5a"))
	require.Empty(t, host.running())

	m, host = lostKernel(t)
	s = patch(t, m, "5a", sessions.Patch{KernelName: "python3"})
	require.Equal(t, []string{s.Kernel.ID}, host.running())

	m, host = lostKernel(t)
	other := create(t, m, notebook("b"))
	patch(t, m, other.ID, sessions.Patch{Path: ptr("a")})
	require.Equal(t, []string{other.Kernel.ID}, host.running())
	require.Equal(t, []string{other.ID}, ids(m.List(t.Context())))

	host = newFakeHost()
	m, err = sessions.New(t.Context(), sessions.Config{MaxSessions: 1}, host, &memory{rows: []sessions.Row{lostRow()}})
	require.NoError(t, err)
	_, err = host.Start(t.Context(), kernel.StartOptions{ID: "old"})
	require.NoError(t, err)
	host.set(t, "old", kernel.StateDead, "")
	host.lose("old")
	s = create(t, m, notebook("b"))
	require.Equal(t, []string{s.Kernel.ID}, host.running(), "it makes room")
}

// A server that ended between the start of a kernel and the writing of its session leaves nothing.
func TestAKernelWithoutItsSessionIsEnded_P1(t *testing.T) {
	m, host := reopened(t, lostRow())
	for id, owner := range map[string]string{"old": "sessions {}", "orphan": `sessions {"id":"7b","path":"b","type":"notebook"}`, "by-hand": "", "other": "pool"} {
		_, err := host.Start(t.Context(), kernel.StartOptions{ID: id, Owner: owner})
		require.NoError(t, err)
	}
	m.Settle(t.Context(), false)
	require.ElementsMatch(t, []string{"old", "by-hand", "other"}, host.running())
}

// When the rows were lost with a damaged database, the kernels that live know their sessions.
func TestSessionsAreMadeAnewFromTheirKernels_P16(t *testing.T) {
	host := newFakeHost()
	before, err := sessions.New(t.Context(), sessions.Config{}, host, &memory{})
	require.NoError(t, err)
	a, b := create(t, before, notebook("a")), create(t, before, notebook("b"))
	_, err = host.Start(t.Context(), kernel.StartOptions{ID: "by-hand"})
	require.NoError(t, err)

	after, err := sessions.New(t.Context(), sessions.Config{}, host, &memory{})
	require.NoError(t, err)
	after.Settle(t.Context(), true)
	require.ElementsMatch(t, []string{a.ID, b.ID}, ids(after.List(t.Context())))
	require.Equal(t, a.Kernel.ID, create(t, after, notebook("a")).Kernel.ID, "the name has its kernel")
	require.Len(t, host.running(), 3)
}

func TestALostSessionIsDeletedPatchedAndReplaced(t *testing.T) {
	m, _ := reopened(t, lostRow())
	require.NoError(t, m.Delete(t.Context(), "5a"))
	require.Empty(t, m.List(t.Context()))

	m, host := reopened(t, lostRow())
	s := patch(t, m, "5a", sessions.Patch{KernelName: "python3"})
	require.True(t, s.Kernel.Alive())
	require.Equal(t, []string{s.Kernel.ID}, host.running())
	require.NoError(t, host.Shutdown(t.Context(), s.Kernel.ID))
	require.Empty(t, m.List(t.Context()))

	m, _ = reopened(t, lostRow())
	other := create(t, m, notebook("b"))
	patch(t, m, other.ID, sessions.Patch{Path: ptr("a")})
	require.Equal(t, []string{other.ID}, ids(m.List(t.Context())), "nobody uses the lost one any more")

	m, host = reopened(t, lostRow())
	s = create(t, m, sessions.CreateRequest{Path: "a", Type: "notebook", KernelID: "old"})
	require.Equal(t, "old", s.Kernel.ID, "a client that sends its old kernel's id gets it")
	require.NoError(t, host.Shutdown(t.Context(), "old"))
	require.Empty(t, m.List(t.Context()))
}

func TestAKernelThatOutlivedItsServerIsThere(t *testing.T) {
	m, host := reopened(t, lostRow())
	_, err := host.Start(t.Context(), kernel.StartOptions{ID: "old"})
	require.NoError(t, err)
	s, err := m.Get(t.Context(), "5a")
	require.NoError(t, err)
	require.True(t, s.Kernel.Alive())
	require.NoError(t, host.Shutdown(t.Context(), "old"))
	require.Empty(t, m.List(t.Context()), "it was seen, so it was shut down")
}

// betweenHost does something when the Manager first asks for a kernel, which it then does not find.
type betweenHost struct {
	*fakeHost
	between func(id string)
}

func (h *betweenHost) Get(id string) (kernel.Status, error) {
	if f := h.between; f != nil {
		h.between = nil
		f(id)
		return kernel.Status{}, fault.New(fault.NotFound, "kernel %s does not exist", id)
	}
	return h.fakeHost.Get(id)
}

func TestAKernelIDThatAnotherTakesMeanwhile(t *testing.T) {
	host := &betweenHost{fakeHost: newFakeHost()}
	m := manager(t, host)
	host.between = func(id string) {
		_, err := host.Start(t.Context(), kernel.StartOptions{ID: id})
		require.NoError(t, err)
	}
	s := create(t, m, sessions.CreateRequest{Path: "a", Type: "file", KernelID: "mine"})
	require.Equal(t, "mine", s.Kernel.ID)
	require.Len(t, host.running(), 1)
}

func TestASessionThatGetsItsKernelBackMeanwhileIsNotPruned(t *testing.T) {
	host := &betweenHost{fakeHost: newFakeHost()}
	m := manager(t, host)
	req := sessions.CreateRequest{Path: "a", Type: "file", KernelID: "mine"}
	s := create(t, m, req)
	host.between = func(id string) {
		require.NoError(t, host.Shutdown(t.Context(), id))
		_, err := host.Start(t.Context(), kernel.StartOptions{ID: id})
		require.NoError(t, err)
	}
	require.Empty(t, m.List(t.Context()))
	require.Equal(t, []string{s.ID}, ids(m.List(t.Context())))
}

func TestAnUnreachableHostEndsNothing(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	host.unreachable(fault.New(fault.Busy, "the kernel host does not answer"))
	all := m.List(t.Context())
	require.Len(t, all, 1)
	require.Equal(t, "unknown", all[0].Kernel.ExecutionState)
	host.unreachable(nil)
	require.Equal(t, []sessions.Session{s}, m.List(t.Context()))
}

func TestExecuteAndInterruptReachTheKernel(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	n := 0
	for _, err := range m.Execute(t.Context(), s.ID, kernel.ExecuteRequest{Code: "1"}) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 1, n)
	require.Equal(t, []string{s.Kernel.ID + " 1"}, host.executed)
	require.NoError(t, m.Interrupt(t.Context(), s.ID))

	for _, err := range m.Execute(t.Context(), "none", kernel.ExecuteRequest{}) {
		require.Equal(t, fault.NotFound, kind(err))
	}
	require.Equal(t, fault.NotFound, kind(m.Interrupt(t.Context(), "none")))
}

func TestTheNumberOfSessionsIsBounded(t *testing.T) {
	m, err := sessions.New(t.Context(), sessions.Config{MaxSessions: 1}, newFakeHost(), &memory{})
	require.NoError(t, err)
	create(t, m, notebook("a"))
	_, err = m.Create(t.Context(), notebook("b"))
	require.Equal(t, fault.Busy, kind(err))
	create(t, m, notebook("a"))

	old := lostRow()
	m, err = sessions.New(t.Context(), sessions.Config{MaxSessions: 1}, newFakeHost(), &memory{rows: []sessions.Row{old}})
	require.NoError(t, err)
	s := create(t, m, notebook("b"))
	require.Equal(t, []string{s.ID}, ids(m.List(t.Context())), "what has no kernel makes room")
}

func TestAClientThatGoesAwayLeavesNoHalf(t *testing.T) {
	host := newFakeHost()
	ctx, leave := context.WithCancel(t.Context())
	host.starting = func(ctx context.Context, _ kernel.StartOptions) error { leave(); return ctx.Err() }
	m := manager(t, host)
	_, err := m.Create(ctx, notebook("a"))
	require.NoError(t, err)
	require.Len(t, m.List(t.Context()), 1)
}

// A session can say how its kernel is started, also the kernel that takes the place of a dead one.
func TestCreateSaysHowTheKernelStarts(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	req := sessions.CreateRequest{Path: "p", Type: "console", KernelID: "mine", KernelName: "k", Start: &kernel.StartOptions{
		ID: "ignored", Spec: "ignored", Cwd: "/work", Sandbox: &kernel.Sandbox{Folder: "/folder"},
	}}
	s := create(t, m, req)
	require.Equal(t, "mine", s.Kernel.ID)
	host.set(t, "mine", kernel.StateDead, "it died")
	require.Equal(t, s.ID, create(t, m, req).ID)
	owner := `sessions {"id":"` + s.ID + `","path":"p","type":"console"}`
	want := kernel.StartOptions{ID: "mine", Spec: "k", Owner: owner, Cwd: "/work", Sandbox: &kernel.Sandbox{Folder: "/folder"}}
	require.Equal(t, []kernel.StartOptions{want, want}, host.started())
}
