package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// scan reads the records between two places of a file, in order, and steps over what is damaged. It holds the
// piece of the file that it is at, and what it returns aliases such pieces: they are never written again.
type scan struct {
	f        io.ReaderAt
	epoch    uint64
	off, end int64 // what is still to be read
	chunk    []byte
	at       int64 // where chunk begins in the file
	step     int64 // how much is read at a time; 0 is chunkBytes

	damages  int   // places where there is no record, or one with a wrong checksum
	lastBad  int64 // the newest of these
	firstBad int64 // damage before this place was seen by others before
	err      error // why no more could be read
}

// chunkBytes is how much of a file is read at a time, and so about what a lagging reader costs in memory.
const chunkBytes = 128 << 10

// smallStep is for who looks at single records.
const smallStep = 4 << 10

var magicBytes = binary.LittleEndian.AppendUint32(nil, recordMagic)

// next finds the head of the next whole record; false says that none follows, or that err is set.
func (s *scan) next() (h recordHead, ok bool) {
	for damaged := false; ; damaged = true {
		p := s.peek(headSize)
		if len(p) == 0 {
			return recordHead{}, false
		}
		if h, ok = readHead(p, s.epoch); ok && h.size() <= s.end-s.off {
			return h, true
		}
		if !damaged {
			s.damage()
		}
		s.seek()
	}
}

// seek goes on to the next place that may be a head.
func (s *scan) seek() {
	s.off++
	left := s.chunk[s.off-s.at:]
	if i := bytes.Index(left, magicBytes); i >= 0 {
		s.off += int64(i)
		return
	}
	s.off += int64(max(0, len(left)-len(magicBytes)+1))
}

// damage notes that what is at off is not what was written.
func (s *scan) damage() {
	if s.off >= s.firstBad {
		s.damages++
		s.lastBad = s.off
	}
}

// body reads the body of the record at off, whose head is h; false says that it is damaged, or that err is set.
func (s *scan) body(h recordHead) ([]byte, bool) {
	p := s.peek(h.size())
	if int64(len(p)) < h.size() {
		return nil, false
	}
	body := p[headSize:h.size()]
	if crc32.Update(uint32(s.epoch), crcTable, body) != h.sum {
		s.damage()
		return nil, false
	}
	return body, true
}

// skip goes on behind the record at off, whose head is h.
func (s *scan) skip(h recordHead) { s.off += h.size() }

// peek gives n bytes of the file at off, or more, or all up to the end; nothing when they cannot be read.
func (s *scan) peek(n int64) []byte {
	left := s.end - s.off
	n = min(n, left)
	if n <= 0 {
		return nil
	}
	if from := s.off - s.at; from >= 0 && from+n <= int64(len(s.chunk)) {
		return s.chunk[from:]
	}
	chunk := make([]byte, min(max(n, cmp.Or(s.step, chunkBytes)), left))
	have := 0
	if from := s.off - s.at; from >= 0 && from < int64(len(s.chunk)) {
		have = copy(chunk, s.chunk[from:])
	}
	if _, err := s.f.ReadAt(chunk[have:], s.off+int64(have)); err != nil {
		s.err = err
		return nil
	}
	s.chunk, s.at = chunk, s.off
	return chunk
}
