package sessions

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Sessions stay in the order in which they were made, also when the clock is set back and the server starts again.
func TestOrderOutlivesAClockSetBack_P14(t *testing.T) {
	now := time.Now()
	x := newIndex([]Row{{ID: "1", Created: now.Add(24 * time.Hour)}})
	last := now.Add(24 * time.Hour)
	for range 3 {
		at := x.stamp(now)
		require.True(t, at.After(last))
		last = at
	}
	require.Equal(t, now.Add(48*time.Hour).UTC().Truncate(time.Microsecond), x.stamp(now.Add(48*time.Hour)))
}
