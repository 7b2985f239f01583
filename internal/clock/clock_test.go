package clock

import (
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// set is what time.Now would have given instead of t if the wall clock had been set by that many seconds before: the
// same monotonic reading with another wall clock's. In a time.Time that has both, the seconds of the wall clock
// stand above the 30 bits of the nanoseconds.
func set(t time.Time, seconds int64) time.Time {
	f := reflect.ValueOf(&t).Elem().FieldByName("wall")
	*(*uint64)(unsafe.Pointer(f.UnsafeAddr())) += uint64(seconds << 30)
	return t
}

func TestSetMovesTheWallClockAlone(t *testing.T) {
	now := time.Now()
	later := set(now, 3600)
	require.Zero(t, later.Sub(now), "the monotonic readings are alike")
	require.Equal(t, time.Hour, later.Round(0).Sub(now.Round(0)))
}

func TestAsSet_P14(t *testing.T) {
	now := time.Now()
	active := now.Add(-10 * time.Minute)
	require.Equal(t, active, asSet(active, now))
	require.Equal(t, active, asSet(active, set(now, 1)), "a clock that is only brought in line changes nothing")
	for _, by := range []int64{3600, -3600, 40 * 365 * 86400, -86400} {
		shown := asSet(active, set(now, by))
		require.Zero(t, shown.Sub(active), "it is the same moment")
		require.Equal(t, active.Round(0).Add(time.Duration(by)*time.Second), shown.Round(0))
		require.Equal(t, shown, asSet(shown, set(now, by)), "it stays what it was shown as")
	}
}

func TestSteady_P14(t *testing.T) {
	now := time.Now()
	require.Equal(t, steady(now), steady(set(now, 86400)))
	require.Equal(t, steady(now).Add(time.Hour), steady(set(now.Add(time.Hour), -86400)))
	require.Less(t, time.Since(Steady()).Abs(), time.Minute)
}
