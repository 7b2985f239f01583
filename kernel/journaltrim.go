package kernel

// trim gives up what is over the limits: what everybody has read down to KeepBytes, what those who are there
// have read down to AwayBytes, anything at MaxBytes.
func (j *Journal) trim() {
	for j.bytes > j.limits.KeepBytes && j.n > 1 && (j.spareable() || j.lookAgain() && j.spareable()) {
		j.evict()
	}
	j.shrink()
}

// shrink gives back what the ring has grown to beyond need.
func (j *Journal) shrink() {
	if size := len(j.ring); size > 1024 && j.n < size/8 {
		smaller := make([]record, size/2)
		for i := range j.n {
			smaller[i] = *j.at(i)
		}
		j.ring, j.head = smaller, 0
	}
}

// unread tells whether a reader who is there has not read all of s.
func (j *Journal) unread(s *segment) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for c := range j.cursors {
		if !c.away && c.mayForget() < s.last {
			return true
		}
	}
	return false
}

// forgo gives up what is no longer needed now that a reader has gone.
func (j *Journal) forgo() {
	if j.disk != nil {
		j.trimWritten()
		return
	}
	j.looked = j.bytes + 1 // look again now
	j.trim()
}

// spareable tells whether the oldest entry may go, as far as the last look tells.
func (j *Journal) spareable() bool {
	seq := j.at(0).seq
	return seq <= j.floor || j.bytes > j.limits.AwayBytes && seq <= j.present || j.bytes > j.limits.MaxBytes
}

// lookAgain finds out how far the readers are, at most once in 256 KiB; false is not this time.
func (j *Journal) lookAgain() bool {
	if d := j.bytes - j.looked; d >= 0 && d < 256<<10 {
		return false
	}
	j.looked = j.bytes
	j.floor, j.present = j.next-1, j.next-1
	for c := range j.cursors {
		j.floor = min(j.floor, c.mayForget())
		if !c.away {
			j.present = min(j.present, c.mayForget())
		}
	}
	for len(j.kept) > 0 && j.kept[0].seq <= j.floor {
		j.dropKept()
	}
	return true
}

func (j *Journal) dropKept() {
	j.keptB -= j.kept[0].size
	j.kept[0] = record{}
	j.kept = j.kept[1:]
}

// evict gives the oldest entry in the ring up; replies and statuses go to the kept ones, unless they are on disk
// or everybody has them.
func (j *Journal) evict() {
	r := j.drop()
	limit := j.limits.MaxBytes / keptShare
	if d := j.disk; d != nil {
		if r.seq <= d.written {
			return
		}
		j.unwritten -= r.size
		limit = j.memory.kept
		if !essential(&r) {
			d.budget.gaveUp(1)
			return
		}
	} else if r.seq <= j.floor || !essential(&r) {
		return
	}
	j.kept = append(j.kept, r)
	j.keptB += r.size
	for j.keptB > limit {
		j.dropKept()
	}
}

// drop takes the oldest entry out of the ring.
func (j *Journal) drop() record {
	r := *j.at(0)
	*j.at(0) = record{}
	j.head = (j.head + 1) & (len(j.ring) - 1)
	j.n--
	j.bytes -= r.size
	return r
}

// essential tells entries by which a client learns that its request has ended, or that it is asked, and those
// that are for observers alone: few, and no client misses them. Of notices it is those of what nobody counted:
// others are counted anew where they are given up themselves.
func essential(r *record) bool {
	if r.gap != nil {
		return r.gap.Dropped == 0
	}
	return r.kind != Said || r.msg.Channel != IOPub || r.msg.Header.MsgType == "status"
}

// Bytes is what the journal holds in memory now.
func (j *Journal) Bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes + j.keptB
}
