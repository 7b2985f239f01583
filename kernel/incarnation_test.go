package kernel

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A death is news, also while a heartbeat is waited for that nobody answers any more.
func TestHeartbeatEndsWithTheProcess_P12(t *testing.T) {
	m := NewManager(Config{Heartbeat: time.Hour}, NewSpecs(SpecsConfig{}), nil, nil)
	k := newKernel(m, StartOptions{ID: "k"}, 1)
	p := &metered{done: make(chan struct{})}
	beaten := make(chan error, 1)
	conn := &Conn{hb: "ipc://" + t.TempDir() + "/hb"} // which is not there: a dial tries again and again
	require.NoError(t, registerTransports())
	go func() { beaten <- k.beatOnce(&incarnation{proc: p}, conn) }()
	close(p.done)
	select {
	case err := <-beaten:
		require.Error(t, err)
	case <-time.After(time.Minute):
		require.FailNow(t, "it waits for the heartbeat of a dead process")
	}
}
