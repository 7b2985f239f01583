package kernel

import "slices"

// past gives f what an earlier process wrote down beside outputs: what was asked, how it ended, who came and went. It
// may be called while others append. Records alias memory of their own, which f may keep alive.
func (j *Journal) past(f func(record)) {
	d := j.disk
	if d == nil {
		return
	}
	type file struct {
		*segment
		size int64
	}
	var files []file
	j.mu.Lock()
	for _, s := range slices.Concat(d.kept, d.segs) {
		files = append(files, file{s, s.size})
	}
	j.mu.Unlock()
	last := uint64(0) // what is among the kept may be in a segment, too
	for _, s := range files {
		sc := scan{f: s, epoch: d.epoch, end: s.size}
		for {
			h, ok := sc.next()
			if !ok || h.seq > j.lostFrom {
				break // or it was dropped meanwhile
			}
			if h.flags&flagEssential != 0 && h.seq > last {
				last = h.seq
				if body, ok := sc.body(h); ok {
					if r, ok := h.record(body); ok {
						f(r)
					}
				}
			}
			sc.skip(h)
		}
	}
}
