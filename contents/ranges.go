package contents

import (
	"fmt"
	"slices"
	"strings"
)

// Range is the bytes From up to, but without, To.
type Range struct{ From, To int64 }

// Len is how many bytes the range has.
func (r Range) Len() int64 { return r.To - r.From }

func (r Range) overlaps(o Range) bool { return r.From < o.To && o.From < r.To }

func (r Range) String() string { return fmt.Sprintf("%d-%d", r.From, r.To-1) }

// ranges is a set of bytes: sorted, without overlaps, neighbours joined.
type ranges []Range

// add returns the set with x in it.
func (s ranges) add(x Range) ranges {
	if x.Len() <= 0 {
		return s
	}
	i, _ := slices.BinarySearchFunc(s, x.From, func(r Range, from int64) int { return cmpInt(r.To, from) })
	j := i
	for ; j < len(s) && s[j].From <= x.To; j++ {
		x.From, x.To = min(x.From, s[j].From), max(x.To, s[j].To)
	}
	return slices.Replace(s, i, j, x)
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// within is the part of the set inside x.
func (s ranges) within(x Range) ranges {
	var out ranges
	for _, r := range s {
		if r.overlaps(x) {
			out = append(out, Range{max(r.From, x.From), min(r.To, x.To)})
		}
	}
	return out
}

// missing is what x lacks of being whole.
func (s ranges) missing(x Range) []Range {
	var out []Range
	at := x.From
	for _, r := range s.within(x) {
		if r.From > at {
			out = append(out, Range{at, r.From})
		}
		at = r.To
	}
	if at < x.To {
		out = append(out, Range{at, x.To})
	}
	return out
}

// len is how many bytes the set has.
func (s ranges) len() (n int64) {
	for _, r := range s {
		n += r.Len()
	}
	return n
}

// end is behind the last byte.
func (s ranges) end() int64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].To
}

// shownRanges is how many ranges an error message names.
const shownRanges = 10

func nameRanges(all []Range) string {
	var names []string
	for i, r := range all {
		if i == shownRanges {
			names = append(names, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}
