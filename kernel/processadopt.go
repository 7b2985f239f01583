package kernel

import (
	"context"
	"errors"
	"syscall"

	"github.com/nbserv/nbserv/internal/fault"
)

// The ends of processes that nobody watched.
const (
	endedUnwatched = "the kernel ended while no server ran"
	endedWithBoot  = "the machine was restarted, and the kernel ended with it"
)

// Adopt implements Provisioner. PID and start time, in one run of the machine, name one process only; a process
// with another mark is never touched all the same.
func (l *Local) Adopt(_ context.Context, r Record) (Process, error) {
	switch {
	case r.Mark == "":
		return nil, fault.New(fault.Internal, "a kernel's process cannot be found without its mark")
	case r.PID == 0:
		r.PID, r.Boot = findMarked(r.Mark), bootID()
		r.PGID, r.StartTime = r.PID, startTime(r.PID)
	case r.Boot != bootID():
		return nil, fault.New(fault.Gone, endedWithBoot)
	}
	end, err := l.watchRecorded(r)
	if err != nil {
		return nil, err
	}
	if end == nil {
		l.endTree(r)
		return nil, fault.New(fault.Gone, endedUnwatched)
	}
	r.Cgroup = l.groupOf(r)
	l.noteAdopted(r)
	p := newProcess(r, end, reopenOutput(r), l.oomFiles)
	p.remember() // who belongs to it by its session alone can be told only while it lives
	p.start()
	return p, nil
}

// watchRecorded watches the process of r; nil when it is no more.
func (l *Local) watchRecorded(r Record) (*processWatch, error) {
	if r.PID <= 0 || r.StartTime == 0 {
		return nil, nil
	}
	end, err := watchPID(r.PID)
	if errors.Is(err, syscall.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the kernel's process cannot be watched")
	}
	// Programs may write over their environment: without a mark, the start time has to do.
	if mark := markOf(r.PID); end.start != r.StartTime || end.over() || mark != "" && mark != r.Mark {
		end.close()
		return nil, nil
	}
	return end, nil
}

// endTree ends what a process has left that is no more.
func (l *Local) endTree(r Record) {
	p := newProcess(r, nil, nil, nil)
	p.ended = true
	close(p.done)
	_ = p.Kill() // what cannot be ended hangs in the system
}

// EndStrays implements Provisioner.
func (l *Local) EndStrays(prefix string, keep map[string]bool) []string {
	var found []string
	if prefix == "" { // everybody's
		return nil
	}
	for mark := range strays(prefix, keep) {
		l.endTree(Record{Boot: bootID(), Mark: mark})
		found = append(found, mark)
	}
	l.endGroups(keep)
	return found
}
