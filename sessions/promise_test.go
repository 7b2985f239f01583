package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
)

const crowd = 300

func TestThreeHundredCreatesAreOne_P1(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	got := make([][]byte, crowd)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() {
			if s, err := m.Create(context.Background(), notebook("nb.ipynb")); err == nil {
				got[i] = s.AppendModel(nil)
			}
		})
	}
	wg.Wait()
	require.NotEmpty(t, got[0])
	for _, model := range got {
		require.Equal(t, string(got[0]), string(model), "the answers cannot be told apart")
	}
	require.Len(t, host.started(), 1)
}

func TestCreatesShareAFailureOnlyWithTheirOwnKernelspec(t *testing.T) {
	host := newFakeHost()
	begun, fail := make(chan struct{}), make(chan struct{})
	var tries atomic.Int32
	host.starting = func(_ context.Context, o kernel.StartOptions) error {
		if o.Spec == "missing" && tries.Add(1) == 1 {
			close(begun)
			<-fail
		}
		return nil
	}
	m := manager(t, host)
	bad := sessions.CreateRequest{Path: "a", Type: "notebook", KernelName: "missing"}
	errs := make(chan error, 10)
	var wg, joined sync.WaitGroup
	wg.Go(func() { _, err := m.Create(context.Background(), bad); errs <- err })
	<-begun
	for range 9 {
		joined.Add(1)
		wg.Go(func() { joined.Done(); _, err := m.Create(context.Background(), bad); errs <- err })
	}
	good := make(chan error, 1)
	wg.Go(func() { _, err := m.Create(context.Background(), notebook("a")); good <- err })
	joined.Wait()
	close(fail)
	require.NoError(t, <-good)
	wg.Wait()
	close(errs)
	for err := range errs {
		require.True(t, err == nil || fault.KindOf(err) == fault.Unstartable, "%v", err)
	}
	require.Len(t, host.running(), 1)
}

func TestAWaiterMayGiveUp(t *testing.T) {
	host := newFakeHost()
	begun, proceed := make(chan struct{}), make(chan struct{})
	host.starting = func(context.Context, kernel.StartOptions) error { close(begun); <-proceed; return nil }
	m := manager(t, host)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = m.Create(context.Background(), notebook("a")) })
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.Create(ctx, notebook("a"))
	require.ErrorIs(t, err, context.Canceled)
	close(proceed)
	wg.Wait()
	require.Len(t, m.List(t.Context()), 1)
}

func TestADeleteThatHasBegunComesBeforeACreate_P1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &slowShutdown{fakeHost: newFakeHost(), proceed: make(chan struct{})}
		m := manager(t, host)
		s := create(t, m, notebook("a"))
		go func() { _ = m.Delete(context.Background(), s.ID) }()
		synctest.Wait()
		next := make(chan sessions.Session, 1)
		go func() { s, _ := m.Create(context.Background(), notebook("a")); next <- s }()
		synctest.Wait()
		require.Empty(t, next, "it waits for the delete")
		close(host.proceed)
		require.NotEqual(t, s.ID, (<-next).ID)
		require.Len(t, host.running(), 1)
	})
}

type slowShutdown struct {
	*fakeHost
	proceed chan struct{}
}

func (h *slowShutdown) Shutdown(ctx context.Context, id string) error {
	<-h.proceed
	return h.fakeHost.Shutdown(ctx, id)
}

func TestADeleteWaitsForAPatchThatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		m := manager(t, host)
		s := create(t, m, notebook("a"))
		proceed := make(chan struct{})
		host.starting = func(context.Context, kernel.StartOptions) error { <-proceed; return nil }
		go func() { _, _ = m.Update(context.Background(), s.ID, sessions.Patch{KernelName: "ir", Path: ptr("b")}) }()
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- m.Delete(context.Background(), s.ID) }()
		synctest.Wait()
		require.Empty(t, done)
		close(proceed)
		require.NoError(t, <-done)
		require.Empty(t, m.List(t.Context()))
		require.Empty(t, host.running())
	})
}

func TestADeleteFollowsASessionThatIsRenamedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &slowShutdown{fakeHost: newFakeHost(), proceed: make(chan struct{})}
		m := manager(t, host)
		s := create(t, m, notebook("a"))
		started := make(chan struct{})
		host.starting = func(context.Context, kernel.StartOptions) error { <-started; return nil }
		errs := make(chan error, 3)
		go func() {
			_, err := m.Update(context.Background(), s.ID, sessions.Patch{Path: ptr("b"), KernelName: "ir"})
			errs <- err
		}()
		synctest.Wait()
		go func() { errs <- m.Delete(context.Background(), s.ID) }() // of "a", so far
		synctest.Wait()
		close(started)
		host.proceed <- struct{}{} // ends the first kernel
		synctest.Wait()            // the delete is ending the second
		go func() {
			_, err := m.Update(context.Background(), s.ID, sessions.Patch{KernelName: "python3"})
			errs <- err
		}()
		synctest.Wait()
		require.Len(t, errs, 1, "the second patch waits for the delete")
		close(host.proceed)
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
		require.Equal(t, fault.NotFound, kind(<-errs))
		require.Empty(t, host.running())
	})
}

// event is one answered call of the crowd below, on a clock that only orders.
type event struct {
	op           string
	id, kernel   string
	asked, given int64
}

// TestACrowdOnOneIdentity_P1 lets 300 clients create, delete and rename away the session of one path, and then
// holds what they were told against what one path may have: one session at a time, one kernel a session.
func TestACrowdOnOneIdentity_P1(t *testing.T) {
	host := newFakeHost()
	m := manager(t, host)
	var clock atomic.Int64
	var mu sync.Mutex
	var history []event
	tell := func(e event) {
		e.given = clock.Add(1)
		mu.Lock()
		defer mu.Unlock()
		history = append(history, e)
	}
	var wg sync.WaitGroup
	failures := make(chan error, crowd*10)
	for i := range crowd {
		wg.Go(func() {
			for round := range 4 {
				e := event{op: "create", asked: clock.Add(1)}
				s, err := m.Create(context.Background(), notebook("nb.ipynb"))
				if err != nil {
					failures <- err
					return
				}
				e.id, e.kernel = s.ID, s.Kernel.ID
				tell(e)
				e.asked = clock.Add(1)
				switch rand.IntN(6) {
				case 0:
					e.op, err = "delete", m.Delete(context.Background(), s.ID)
				case 1:
					e.op = "rename"
					_, err = m.Update(context.Background(), s.ID, sessions.Patch{Path: ptr(fmt.Sprintf("%d-%d", i, round))})
				default:
					if err := noTwins(m.List(context.Background())); err != nil {
						failures <- err
					}
					continue
				}
				switch k := kind(err); {
				case err == nil:
					tell(e)
				case k != fault.NotFound && k != fault.Gone:
					failures <- err
				}
			}
		})
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	checkHistory(t, history, len(host.started()))

	for _, s := range m.List(t.Context()) {
		require.NoError(t, m.Delete(t.Context(), s.ID))
	}
	require.Empty(t, host.running(), "no kernel is left behind (P11)")
}

// TestACrowdOnTwoIdentities_P1 adds renames to and fro and changes of the kernel, and holds what is on disk
// against what is seen.
func TestACrowdOnTwoIdentities_P1(t *testing.T) {
	host, disk := newFakeHost(), &ledger{rows: map[string]sessions.Row{}}
	m, err := sessions.New(t.Context(), sessions.Config{}, host, disk)
	require.NoError(t, err)
	paths := []string{"p", "q"}
	failures := make(chan error, crowd*10)
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			for range 4 {
				s, err := m.Create(context.Background(), notebook(paths[rand.IntN(2)]))
				if err != nil {
					failures <- err
					return
				}
				switch rand.IntN(4) {
				case 0:
					err = m.Delete(context.Background(), s.ID)
				case 1:
					_, err = m.Update(context.Background(), s.ID, sessions.Patch{Path: ptr(paths[rand.IntN(2)])})
				case 2:
					_, err = m.Update(context.Background(), s.ID, sessions.Patch{KernelName: "ir"})
				default:
					err = noTwins(m.List(context.Background()))
				}
				if k := fault.KindOf(err); err != nil && k != fault.NotFound && k != fault.Gone && k != fault.Conflict {
					failures <- err
				}
			}
		})
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	all := m.List(t.Context())
	require.LessOrEqual(t, len(all), 2)
	require.Len(t, disk.rows, len(all))
	require.Len(t, host.running(), len(all), "one kernel a session, and none besides")
	for _, s := range all {
		require.Equal(t, s.Path, disk.rows[s.ID].Path)
		require.Equal(t, s.Kernel.ID, disk.rows[s.ID].KernelID)
	}
}

// ledger is a Store that can be read at any time. Its writes take a while, as a disk's do.
type ledger struct {
	mu   sync.Mutex
	rows map[string]sessions.Row // guarded by mu
}

func (l *ledger) Load(context.Context) ([]sessions.Row, error) { return nil, nil }

func (l *ledger) Apply(_ context.Context, c sessions.Change) error {
	runtime.Gosched()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range c.Drop {
		delete(l.rows, id)
	}
	for _, r := range c.Put {
		l.rows[r.ID] = r
	}
	return nil
}

func noTwins(all []sessions.Session) error {
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.Path] {
			return errors.New("two sessions of " + s.Path)
		}
		seen[s.Path] = true
	}
	return nil
}

// checkHistory: a session has one kernel, and each kernel that was started belongs to one; a session that was
// deleted or renamed away is not named to whoever asks afterwards; and of two sessions of the path one was
// over before the other began.
func checkHistory(t *testing.T, history []event, started int) {
	t.Helper()
	type span struct{ first, last int64 } // first told, last asked and still named
	kernels, spans, over := map[string]string{}, map[string]span{}, map[string]int64{}
	for _, e := range history {
		if e.op != "create" {
			if at, ok := over[e.id]; !ok || e.given < at {
				over[e.id] = e.given
			}
			continue
		}
		if k, ok := kernels[e.id]; ok {
			require.Equal(t, k, e.kernel)
		}
		kernels[e.id] = e.kernel
		s, ok := spans[e.id]
		if !ok || e.given < s.first {
			s.first = e.given
		}
		s.last = max(s.last, e.asked)
		spans[e.id] = s
	}
	require.Len(t, kernels, started, "one kernel a generation")
	require.Greater(t, started, 1, "the crowd has met")
	for id, s := range spans {
		if at, ok := over[id]; ok {
			require.Less(t, s.last, at, "named after its end")
		}
		for other, o := range spans {
			require.False(t, id != other && s.last > o.first && o.last > s.first, "two at once")
		}
	}
}
