// Package clock has times that neither a clock that is set nor a machine that sleeps puts out of order (P14).
//
// A time.Time of time.Now carries two readings. The monotonic one measures: nobody sets it, and it stands still while
// the machine sleeps. The wall clock's is for people and other programs, and is wrong as soon as the clock is set.
package clock

import "time"

// slack is by how much the two readings may differ before that counts: a clock that is set is off by more, and what is
// shown should not tremble.
const slack = 2 * time.Second

// AsSet is the moment t, which this process took from time.Now, by the clock as it is set now. A time that the machine
// has slept since then does not count: t moves up by as much. As long as nothing happens to the clock it is t itself.
func AsSet(t time.Time) time.Time { return asSet(t, time.Now()) }

func asSet(t, now time.Time) time.Time {
	at := now.Add(-now.Sub(t))
	if at.Round(0).Sub(t.Round(0)).Abs() <= slack {
		return t
	}
	return at
}

// started is where Steady counts from.
var started = time.Now()

// Steady is the time now by a clock that nobody sets: the wall clock's when this process began, and the time since
// then, without that in which the machine slept. It is for what is written with a time and expires in this process.
func Steady() time.Time { return steady(time.Now()) }

func steady(now time.Time) time.Time { return started.Add(now.Sub(started)) }
