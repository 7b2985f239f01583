package contents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

func part(from int64, text string) Part {
	return Part{Range: Range{from, from + int64(len(text))}, Body: strings.NewReader(text)}
}

func kindOf(t *testing.T, want fault.Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, fault.KindOf(err), "%v", err)
}

func TestPartsInAnyOrder(t *testing.T) {
	d := newDir(t)
	c := serve(t, d)
	ctx := context.Background()
	s := d.Staging()
	u, err := s.Begin("1", mustPath("a.bin"), 10)
	require.NoError(t, err)
	require.NoError(t, u.WriteAt(ctx, part(8, "89")))
	require.NoError(t, u.WriteAt(ctx, part(0, "012")))
	require.Equal(t, []Range{{3, 8}}, u.Missing())
	_, err = u.Commit(ctx)
	kindOf(t, fault.Conflict, err)
	require.ErrorContains(t, err, "bytes 3-7 are missing")
	require.NoError(t, u.WriteAt(ctx, part(0, "012")), "a repeated part changes nothing")
	kindOf(t, fault.Conflict, u.WriteAt(ctx, part(1, "xx")))
	require.NoError(t, u.WriteAt(ctx, part(2, "234")), "an overlap with the same bytes")
	kindOf(t, fault.Invalid, u.WriteAt(ctx, part(9, "90")))
	kindOf(t, fault.Invalid, u.WriteAt(ctx, Part{Range: Range{5, 8}, Body: strings.NewReader("5")}))
	require.Equal(t, []Range{{5, 8}}, u.Missing(), "a part that ended early is not held")
	require.Empty(t, c.model(200, "GET", "/api/contents", "")["content"], "nothing is seen before the commit (P8)")

	again, err := s.Begin("1", mustPath("a.bin"), 10)
	require.NoError(t, err)
	require.Same(t, u, again)
	_, err = s.Begin("1", mustPath("a.bin"), 11)
	kindOf(t, fault.Conflict, err)
	_, err = s.Begin("1", mustPath("b.bin"), 10)
	kindOf(t, fault.Conflict, err)

	require.NoError(t, u.WriteAt(ctx, part(5, "567")))
	m, err := u.Commit(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 10, m.Size)
	require.Equal(t, map[string]string{"a.bin": "0123456789"}, c.tree(), "and nothing is left")
	_, err = s.Upload("1")
	kindOf(t, fault.NotFound, err)
	kindOf(t, fault.NotFound, u.WriteAt(ctx, part(0, "0")))
	kindOf(t, fault.NotFound, u.Cancel())
}

func TestUploadsAreListedCancelledAndBounded(t *testing.T) {
	d := newDir(t, func(c *Config) { c.MaxUploads = 3 })
	c := serve(t, d)
	c.write("dir/x", "")
	s := d.Staging()
	for i, p := range []string{"b", "dir/a", "a"} {
		_, err := s.Begin(fmt.Sprint(i), mustPath(p), 1)
		require.NoError(t, err)
	}
	reg := prometheus.NewRegistry()
	require.NoError(t, s.Instrument(reg))
	_, err := s.Begin("3", mustPath("c"), 1)
	kindOf(t, fault.Busy, err)
	got, err := reg.Gather()
	require.NoError(t, err)
	require.EqualValues(t, 0, got[0].Metric[0].Gauge.GetValue())
	require.EqualValues(t, 1, got[1].Metric[0].Counter.GetValue())
	require.EqualValues(t, 3, got[2].Metric[0].Gauge.GetValue())
	var ids []string
	for _, u := range s.Uploads(Path{}) {
		ids = append(ids, u.ID())
	}
	require.Equal(t, []string{"2", "0", "1"}, ids)
	require.Len(t, s.Uploads(mustPath("dir")), 1)
	for _, u := range s.Uploads(Path{}) {
		require.NoError(t, u.Cancel())
	}
	require.Equal(t, []string{"dir"}, c.names("."))
	require.Equal(t, []string{"x"}, c.names("dir"))
	_, err = s.Begin("4", mustPath("nowhere/a"), 1)
	kindOf(t, fault.NotFound, err)
	_, err = s.Begin("4", mustPath("dir"), 1)
	require.NoError(t, err)
	_, err = s.Begin("5", mustPath(".a"), 1)
	kindOf(t, fault.Invalid, err)
	_, err = s.Begin("5", mustPath("a"), -7)
	kindOf(t, fault.Invalid, err)
}

// TestStagingIsAByteArray_P8 does random things to an upload and to a plain array, with restarts between.
func TestStagingIsAByteArray_P8(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		d := newDir(t)
		size := 1 + rnd.IntN(400)
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(rnd.IntN(256))
		}
		have := make([]bool, size)
		u, err := d.Staging().Begin("id", mustPath("a"), int64(size))
		require.NoError(t, err)
		for range 60 {
			from := rnd.IntN(size)
			to := from + rnd.IntN(size-from) + 1
			sent := bytes.Clone(want[from:to])
			spoiled := rnd.IntN(4) == 0
			at := from + rnd.IntN(to-from)
			if spoiled = spoiled && have[at]; spoiled {
				sent[at-from]++
			}
			err := u.WriteAt(context.Background(), Part{Range{int64(from), int64(to)}, iotest.HalfReader(bytes.NewReader(sent)), nil})
			if spoiled {
				kindOf(t, fault.Conflict, err)
			} else {
				require.NoError(t, err)
				for i := from; i < to; i++ {
					have[i] = true
				}
			}
			if rnd.IntN(10) == 0 { // the server is killed and comes back
				d = newDir(t, func(c *Config) { c.RootDir = d.root })
				u, err = d.Staging().Upload("id")
				require.NoError(t, err)
			}
			holes := make([]bool, size)
			for _, r := range u.Missing() {
				for i := r.From; i < r.To; i++ {
					holes[i] = true
				}
			}
			var held int64
			for i := range have {
				require.NotEqual(t, have[i], holes[i], "byte %d", i)
				if have[i] {
					held++
				}
			}
			require.Equal(t, held, u.Held())
			require.Equal(t, held, d.Staging().Held(), "what failed has given its room back")
		}
		for _, r := range u.Missing() {
			require.NoError(t, u.WriteAt(context.Background(), Part{r, bytes.NewReader(want[r.From:r.To]), nil}))
		}
		_, err = u.Commit(context.Background())
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(d.root, "a"))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestRangesAddAndMiss(t *testing.T) {
	var s ranges
	for _, r := range []Range{{10, 20}, {30, 40}, {0, 0}, {20, 25}, {24, 31}, {50, 51}} {
		s = s.add(r)
	}
	require.Equal(t, ranges{{10, 40}, {50, 51}}, s)
	require.Equal(t, []Range{{0, 10}, {40, 50}, {51, 60}}, s.missing(Range{0, 60}))
	require.Empty(t, s.missing(Range{12, 40}))
}

// TestADamagedSidecarIsNotBelieved: a line that was cut does not count; a file that is none is dropped.
func TestADamagedSidecarIsNotBelieved(t *testing.T) {
	d := newDir(t)
	u, err := d.Staging().Begin("id", mustPath("a"), 10)
	require.NoError(t, err)
	require.NoError(t, u.WriteAt(context.Background(), part(0, "01")))
	require.NoError(t, u.appendLine("+ 2 10"))
	d = newDir(t, func(c *Config) { c.RootDir = d.root })
	u, err = d.Staging().Upload("id")
	require.NoError(t, err)
	require.Equal(t, []Range{{2, 10}}, u.Missing())

	side := u.sidecarPath()
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(side), "x"+sidecarSuffix), []byte("garbage\n"), 0o600))
	require.NoError(t, os.WriteFile(side, []byte(`{"root":"`+d.root+`","id":"id","path":"../a","size":1,"folder":"/","name":"x","part":"y"}`+"\n"), 0o600))
	other := filepath.Join(filepath.Dir(side), "other"+sidecarSuffix)
	require.NoError(t, os.WriteFile(other, []byte(`{"root":"/elsewhere","id":"id","path":"a","size":1,"folder":"/","name":"x","part":"y"}`+"\n"), 0o600))
	d = newDir(t, func(c *Config) { c.RootDir = d.root })
	require.Empty(t, d.Staging().Uploads(Path{}))
	require.NoFileExists(t, side)
	require.FileExists(t, other)
}

// TestAbandonedPartsVanish_P8: after the time to live, also those of an earlier process.
func TestAbandonedPartsVanish_P8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDir(t, func(c *Config) { c.StagingTTL = time.Hour })
		c := &client{t: t, root: d.root}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		u, err := d.Staging().Begin("1", mustPath("a"), 10)
		require.NoError(t, err)
		time.Sleep(50 * time.Minute) // of synctest's clock
		require.NoError(t, u.WriteAt(ctx, part(0, "0")))
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		require.Len(t, c.names("."), 2, "the part and the sidecars")
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		require.Empty(t, c.names("."))
		cancel()
		require.NoError(t, <-done)
	})
}

// slowBody blocks after its first bytes until it is aborted.
type slowBody struct {
	first   io.Reader
	started chan struct{}
	aborted chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	close(b.started)
	<-b.aborted
	return 0, errors.New("aborted")
}

// TestTheNewerOfTwoWritersWins_P8: it ends the one that hangs, and does not wait for its client.
func TestTheNewerOfTwoWritersWins_P8(t *testing.T) {
	d := newDir(t)
	u, err := d.Staging().Begin("1", mustPath("a"), 4)
	require.NoError(t, err)
	slow := &slowBody{strings.NewReader("0"), make(chan struct{}), make(chan struct{})}
	first := make(chan error)
	go func() {
		first <- u.WriteAt(context.Background(), Part{Range{0, 4}, slow, func() { close(slow.aborted) }})
	}()
	<-slow.started
	require.NoError(t, u.WriteAt(context.Background(), part(2, "23")), "half of the range")
	kindOf(t, fault.Invalid, <-first)
	require.NoError(t, u.WriteAt(context.Background(), part(0, "01")))
	_, err = u.Commit(context.Background())
	require.NoError(t, err)
}

func TestACommitWaitsForNobody(t *testing.T) {
	d := newDir(t)
	u, err := d.Staging().Begin("1", mustPath("a"), 4)
	require.NoError(t, err)
	slow := &slowBody{strings.NewReader("0"), make(chan struct{}), make(chan struct{})}
	first := make(chan error)
	go func() {
		first <- u.WriteAt(context.Background(), Part{Range{0, 4}, slow, func() { close(slow.aborted) }})
	}()
	<-slow.started
	_, err = u.Commit(context.Background())
	kindOf(t, fault.Conflict, err)
	require.NoError(t, u.Cancel())
	require.Error(t, <-first)
	entries, err := os.ReadDir(d.root)
	require.NoError(t, err)
	require.Empty(t, entries)
}
