package kernel

// trim gives up what is over the limits: what everybody has read down to KeepBytes, what those who are there
// have read down to AwayBytes, anything at MaxBytes.
func (j *Journal) trim() {
	for j.bytes > j.limits.KeepBytes && j.n > 1 && (j.spareable() || j.lookAgain() && j.spareable()) {
		j.evict()
	}
	if cap := len(j.ring); cap > 1024 && j.n < cap/8 {
		smaller := make([]record, cap/2)
		for i := range j.n {
			smaller[i] = *j.at(i)
		}
		j.ring, j.head = smaller, 0
	}
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

// evict takes the oldest entry out of the ring; replies and statuses go to the kept ones.
func (j *Journal) evict() {
	r := *j.at(0)
	*j.at(0) = record{}
	j.head = (j.head + 1) & (len(j.ring) - 1)
	j.n--
	j.bytes -= r.size
	if r.seq <= j.floor || !essential(&r) {
		return
	}
	j.kept = append(j.kept, r)
	j.keptB += r.size
	for j.keptB > j.limits.MaxBytes/keptShare {
		j.dropKept()
	}
}

// essential tells entries by which a client learns that its request has ended, or that it is asked, and those
// that are for observers alone: few, and no client misses them.
func essential(r *record) bool {
	return r.kind != Said || r.msg.Channel != IOPub || r.msg.Header.MsgType == "status"
}

// Bytes is what the journal holds in memory now.
func (j *Journal) Bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes + j.keptB
}
