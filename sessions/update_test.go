package sessions_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
)

// What JupyterLab makes up as the path of a session it is creating.
const holder = "f/0b7d8f1e-5f0c-4b1f-9d53-2f2b6b0a1c11"

func TestPatchTexts(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	got := patch(t, m, s.ID, sessions.Patch{Path: ptr("b"), Name: ptr(""), Type: ptr("console")})
	require.Equal(t, sessions.Session{ID: s.ID, Path: "b", Type: "console", Created: s.Created, Kernel: s.Kernel}, got)
	require.Equal(t, got, create(t, m, notebook("b")))
	require.NotEqual(t, s.ID, create(t, m, notebook("a")).ID, "the old path is free")
	require.Equal(t, got, patch(t, m, s.ID, sessions.Patch{}))
	require.Len(t, host.started(), 2)
}

func TestPatchKernelName(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	got := patch(t, m, s.ID, sessions.Patch{KernelName: "ir"})
	require.Equal(t, s.ID, got.ID)
	require.Equal(t, "ir", got.Kernel.Spec)
	require.Equal(t, []string{got.Kernel.ID}, host.running())

	_, err := m.Update(t.Context(), s.ID, sessions.Patch{KernelName: "missing"})
	require.Equal(t, fault.Unstartable, kind(err))
	require.Equal(t, []sessions.Session{got}, m.List(t.Context()), "it keeps the one it has")
}

func TestPatchKernelID(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	k, err := host.Start(t.Context(), kernel.StartOptions{})
	require.NoError(t, err)
	got := patch(t, m, s.ID, sessions.Patch{KernelID: k.ID, KernelName: "the id wins"})
	require.Equal(t, k, got.Kernel)
	require.Equal(t, []string{k.ID}, host.running())
	require.Equal(t, got, patch(t, m, s.ID, sessions.Patch{KernelID: k.ID}))

	_, err = m.Update(t.Context(), s.ID, sessions.Patch{KernelID: "none"})
	require.Equal(t, fault.Invalid, kind(err))
	require.Contains(t, fault.Message(err), "kernel.id")
}

func TestAKernelThatAnotherPathUsesOutlivesThePatch(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	console := create(t, m, sessions.CreateRequest{Path: "c", Type: "console", KernelID: s.Kernel.ID})
	patch(t, m, s.ID, sessions.Patch{KernelName: "ir"})
	got, err := m.Get(t.Context(), console.ID)
	require.NoError(t, err)
	require.Equal(t, s.Kernel, got.Kernel)
}

func TestDeleteEndsASharedKernelAndItsSessions(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	s := create(t, m, notebook("a"))
	create(t, m, sessions.CreateRequest{Path: "c", Type: "console", KernelID: s.Kernel.ID})
	require.NoError(t, m.Delete(t.Context(), s.ID))
	require.Empty(t, host.running())
	require.Empty(t, m.List(t.Context()))
}

func TestRenameToATakenPathIsConflict_P1(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	a, b := create(t, m, notebook("a")), create(t, m, notebook("b"))
	_, err := m.Update(t.Context(), b.ID, sessions.Patch{Path: ptr("a")})
	require.Equal(t, fault.Conflict, kind(err))
	require.Contains(t, fault.Message(err), `"a"`)
	_, err = m.Update(t.Context(), b.ID, sessions.Patch{Path: ptr("a"), KernelName: "ir"})
	require.Equal(t, fault.Conflict, kind(err))
	require.Equal(t, []sessions.Session{a, b}, m.List(t.Context()))
	require.Len(t, host.started(), 2, "nothing was started in vain")

	host.set(t, a.Kernel.ID, kernel.StateDead, "exit code 1")
	patch(t, m, b.ID, sessions.Patch{Path: ptr("a")})
	require.Equal(t, []string{b.ID}, ids(m.List(t.Context())), "a dead one does not hold its path")
}

// JupyterLab creates each session under a placeholder and renames it. Two pages (or one, twice) that open a
// notebook at the same time end up with one kernel.
func TestASecondPageJoinsTheKernelOfThePath_P1(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	first := create(t, m, notebook("f/nb.ipynb"))
	second := create(t, m, notebook(holder))
	second = patch(t, m, second.ID, sessions.Patch{Path: ptr("f/nb.ipynb")})
	require.Equal(t, first.Kernel, second.Kernel)
	require.Equal(t, []string{first.Kernel.ID}, host.running())
	require.Equal(t, []sessions.Session{first, second}, m.List(t.Context()))
	require.Equal(t, first, create(t, m, notebook("f/nb.ipynb")))

	changed := patch(t, m, second.ID, sessions.Patch{KernelName: "ir"})
	require.Equal(t, []string{changed.Kernel.ID}, host.running(), "one path, one kernel")
	got, err := m.Get(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, changed.Kernel, got.Kernel)

	require.NoError(t, m.Delete(t.Context(), first.ID), "the page deletes the one it does not need")
	require.Equal(t, []string{second.ID}, ids(m.List(t.Context())))
	require.NoError(t, m.Delete(t.Context(), second.ID))
	require.Empty(t, host.running())
}

func TestAPageMayBringTheKernelOfThePathItself(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	first := create(t, m, notebook("f/nb.ipynb"))
	second := create(t, m, sessions.CreateRequest{Path: holder, Type: "notebook", KernelID: first.Kernel.ID})
	second = patch(t, m, second.ID, sessions.Patch{Path: ptr("f/nb.ipynb")})
	require.Equal(t, first.Kernel, second.Kernel)
	require.Len(t, m.List(t.Context()), 2)
}

func TestAPlaceholderWithAnotherKernelspecDoesNotJoin(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	create(t, m, notebook("f/nb.ipynb"))
	second := create(t, m, sessions.CreateRequest{Path: holder, Type: "notebook", KernelName: "ir"})
	_, err := m.Update(t.Context(), second.ID, sessions.Patch{Path: ptr("f/nb.ipynb")})
	require.Equal(t, fault.Conflict, kind(err))
}

func TestPatchRefusesBadFields(t *testing.T) {
	m := manager(t, newFakeHost())
	s := create(t, m, notebook("a"))
	for field, p := range map[string]sessions.Patch{
		"path": {Path: ptr("")}, "type": {Type: ptr("")}, "name": {Name: ptr("\x00")},
		"kernel.id": {KernelID: "../x"}, "kernel.name": {KernelName: "\xff"},
	} {
		_, err := m.Update(t.Context(), s.ID, p)
		require.Equal(t, fault.Invalid, kind(err))
		require.Contains(t, fault.Message(err), field)
	}
	_, err := m.Update(t.Context(), "none", sessions.Patch{})
	require.Equal(t, fault.NotFound, kind(err))
}
