package terminals

import (
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// members are processes, each with the time of its start, by which a reused number is told from it.
type members map[int]uint64

// sessionOf lists the processes of a terminal's session; sid is its leader, which nobody has waited for yet.
func sessionOf(sid int) members {
	all := members{}
	for pid, stat := range processes() {
		if stat.Session == sid {
			all[pid] = stat.Starttime
		}
	}
	return all
}

// signal signals the processes that still are, and those that have joined their session since.
func (m members) signal(sig unix.Signal) {
	now := processes()
	sessions := map[int]bool{}
	for pid, started := range m {
		if stat, ok := now[pid]; ok && stat.Starttime == started {
			sessions[stat.Session] = true
		}
	}
	for pid, stat := range now {
		if sessions[stat.Session] {
			_ = unix.Kill(pid, sig) // it may have ended just now
		}
	}
}

func processes() map[int]procfs.ProcStat {
	all := map[int]procfs.ProcStat{}
	procs, err := procfs.AllProcs()
	if err != nil {
		return all
	}
	for _, p := range procs {
		if stat, err := p.Stat(); err == nil {
			all[p.PID] = stat
		}
	}
	return all
}
