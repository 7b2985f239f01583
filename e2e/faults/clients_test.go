package faults

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSlowAndSilentClients_P4_P9_P10_S10 has clients that never read what a kernel floods them with, one that reads slowly,
// and connections that never say what they want. The others go on, the server's memory stays bounded, who said nothing is
// cut off, and whoever was asleep reads on in order, or is told what is missing.
func TestSlowAndSilentClients_P4_P9_P10_S10(t *testing.T) {
	p := build(t, "--kernel-host=spawn")
	var noisy, quiet model
	p.must("POST", "api/sessions", session("noisy.ipynb"), &noisy)
	p.must("POST", "api/sessions", session("quiet.ipynb"), &quiet)
	healthy := newPage(p, quiet.Kernel.ID)
	defer healthy.close()
	before := p.memory()

	var silent []net.Conn
	for i := range 35 {
		conn, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET /api/sessions HTTP/1.1\r\nHost: x"[:i])
		require.NoError(t, err)
		silent = append(silent, conn)
	}
	var asleep []*page
	for range 2 {
		g := newPage(p, noisy.Kernel.ID)
		require.NoError(t, g.connect(t.Context()))
		defer g.close()
		asleep = append(asleep, g)
	}
	crew := newCrew(t)
	slow := newPage(p, noisy.Kernel.ID)
	require.NoError(t, slow.connect(t.Context()))
	defer slow.close()
	crew.goes(func(int) error {
		crew.pause(time.Millisecond)
		_, _, err := slow.next()
		return err
	})

	const size, outputs = 10_000, 3000
	loud := newPage(p, noisy.Kernel.ID)
	defer loud.close()
	rounds, most := times(3, 40), 0
	for range rounds {
		o, err := loud.run(t.Context(), fmt.Sprintf("buffers %d %d", outputs, size))
		require.NoError(t, err)
		require.NoError(t, o.whole(outputs))
		o, err = healthy.run(t.Context(), "flood 100 100")
		require.NoError(t, err)
		require.NoError(t, o.whole(100))
		most = max(most, p.memory())
	}
	crew.finish(t)
	require.Less(t, most-before, 192<<20, "%d MB were printed, and two read nothing of it", rounds*size*outputs/1_000_000)

	for _, g := range append(asleep, slow) {
		o, err := g.run(t.Context(), "print awake")
		require.NoError(t, err)
		require.Equal(t, "ok", o.status)
		if g.gaps == 0 {
			require.Equal(t, rounds*outputs, g.outputs, "outputs are missing, and no notice said so")
		}
	}
	for _, conn := range silent {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		answer, err := io.ReadAll(conn)
		require.NoError(t, err, "the server does not close a connection that is silent")
		require.True(t, len(answer) == 0 || strings.HasPrefix(string(answer), "HTTP/1.1 4"), "%s", answer)
	}
	t.Logf("memory of server and kernel host: %.1f MiB, at most %.1f while %d MB were printed", float64(before)/(1<<20),
		float64(most)/(1<<20), rounds*size*outputs/1_000_000)
}
