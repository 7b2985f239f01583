package kernel

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The place of a client that does not come back is given up after DetachedTTL, and the memory behind it.
func TestPlaceOfADetachedClientExpires_P9(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := JournalLimits{MaxBytes: 8 << 20, KeepBytes: 64 << 10}
		m := NewManager(Config{DetachedTTL: time.Hour, Journal: limits}, nil, nil, nil)
		k := newKernel(m, StartOptions{ID: "k"}, 1)
		c, err := k.attach(AttachOptions{ClientSession: "page"})
		require.NoError(t, err)
		c.Detach()
		for i := range 1000 {
			k.journal.Append("", streamed(i, 1000))
		}
		time.Sleep(59 * time.Minute)
		require.Greater(t, k.journal.Bytes(), int64(1<<20), "it may still come back")
		time.Sleep(2 * time.Minute)
		require.LessOrEqual(t, k.journal.Bytes(), int64(64<<10))
		back, err := k.attach(AttachOptions{ClientSession: "page"})
		require.NoError(t, err)
		require.Equal(t, uint64(1000), back.Position().Seq, "it begins anew")
		back.leave()
	})
}
