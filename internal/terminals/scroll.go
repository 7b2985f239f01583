package terminals

import (
	"bytes"
	"unicode/utf8"
)

// scrollBytes is how much of what a terminal printed is kept: some 10,000 lines, ten times what a page scrolls back.
const scrollBytes = 1 << 20

// scroll is the end of what a terminal printed: scrollBytes, in at most twice as much memory. Places in it count
// from the terminal's first byte. Guarded by the terminal's mu.
type scroll struct {
	buf []byte
	end uint64
}

func (s *scroll) write(p []byte) {
	s.buf = append(s.buf, p...)
	s.end += uint64(len(p))
	if over := len(s.buf) - scrollBytes; over >= scrollBytes {
		s.buf = s.buf[:copy(s.buf, s.buf[over:])]
	}
}

// from gives what follows the place at, at most limit bytes of whole characters, the place after it, and how many
// bytes before it are no longer kept. After a gap it begins with a line, so that no half of a control sequence is
// shown.
func (s *scroll) from(at uint64, limit int) (text []byte, next, lost uint64) {
	start := s.end - uint64(min(len(s.buf), scrollBytes))
	if at < start {
		rest := s.buf[len(s.buf)-int(s.end-start):]
		if i := bytes.IndexByte(rest, '\n'); i >= 0 && i < limit {
			start += uint64(i) + 1
		}
		lost, at = start-at, start
	}
	text = s.buf[len(s.buf)-int(s.end-at):]
	if len(text) > limit {
		text = text[:limit]
		for i := 0; i < utf8.UTFMax && len(text) > 0 && !utf8.Valid(text[len(text)-1:]); i++ {
			r, n := utf8.DecodeLastRune(text)
			if r != utf8.RuneError || n > 1 {
				break
			}
			text = text[:len(text)-1]
		}
	}
	return text, at + uint64(len(text)), lost
}
