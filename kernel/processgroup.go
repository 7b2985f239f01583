package kernel

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nbserv/nbserv/internal/cgroup"
	"github.com/nbserv/nbserv/internal/fault"
)

// openGroups finds the place for the kernels' cgroups. Its name is the state folder's: servers of other folders have
// others, and the next one of this folder finds what is left.
func (l *Local) openGroups(stateDir string) {
	if stateDir == "" {
		return
	}
	prefix, err := markPrefix(stateDir)
	if err == nil {
		l.groups, err = cgroup.Open("nbserv-" + strings.TrimSuffix(prefix, "-"))
	}
	if err != nil {
		l.log.Info("kernels have no cgroups", "err", err)
		return
	}
	l.log.Info("kernels have cgroups", "hierarchies", l.groups.String())
}

// newGroup makes the cgroup of a kernel, by its id; nil where that is not possible.
func (l *Local) newGroup(a Launch) *cgroup.Group {
	if l.groups == nil {
		return nil
	}
	g, err := l.groups.New(a.KernelID, cgroup.Limits(a.Limits))
	if err != nil {
		l.log.Warn("a kernel gets no cgroup", "kernel_id", a.KernelID, "err", err)
		return nil
	}
	return g
}

// startIn starts what build makes in g, or outside of it where the system refuses that.
func (l *Local) startIn(g *cgroup.Group, build func() *exec.Cmd) (*exec.Cmd, *cgroup.Group, error) {
	cmd := build()
	if g == nil {
		return cmd, nil, cmd.Start()
	}
	err := g.Start(cmd)
	if err == nil {
		return cmd, g, nil
	}
	_ = g.Close() // nobody is in it
	if !refused(err) {
		return nil, nil, err
	}
	l.log.Warn("a kernel starts outside of its cgroup", "err", err)
	cmd = build()
	return cmd, nil, cmd.Start()
}

// refused tells whether an error may be the cgroup's rather than the command's.
func refused(err error) bool {
	if fault.OutOfDescriptors(err) { // there may be some by the next time; without its limits it would stay
		return false
	}
	for _, e := range []error{cgroup.ErrJoin, syscall.EBUSY, syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// enforce puts the limits of a process that has just been started in force, as far as its cgroup has not, and says
// which are.
func (l *Local) enforce(pid int, g *cgroup.Group, a Launch) (in Enforced) {
	want := a.Limits
	if g != nil {
		in.Limits = Limits(g.Limits())
		if in.MemoryBytes > 0 {
			in.MemoryBy = byCgroup
		}
	}
	if want.MemoryBytes > 0 && in.MemoryBytes == 0 {
		if err := limitData(pid, want.MemoryBytes); err != nil {
			l.log.Warn("a kernel's memory cannot be limited", "kernel_id", a.KernelID, "err", err)
		} else {
			in.MemoryBytes, in.MemoryBy = want.MemoryBytes, byRlimit
		}
	}
	if want.CPUs > 0 && in.CPUs == 0 || want.Processes > 0 && in.Processes == 0 {
		l.log.Warn("not all limits of a kernel are in force: it has no cgroup for them", "kernel_id", a.KernelID,
			"wanted", want.String(), "in_force", in.String())
	}
	return in
}

// endGroups ends the cgroups that earlier servers of the same folder have left, but for those that were adopted, or
// hold a process with a mark in keep.
func (l *Local) endGroups(keep map[string]bool) {
	if l.groups == nil {
		return
	}
	for _, id := range l.groups.IDs() {
		g := l.groups.Find(id)
		if g == nil || l.isAdopted(g) || slices.ContainsFunc(g.PIDs(), func(pid int) bool { return keep[markOf(pid)] }) {
			continue
		}
		if err := errors.Join(g.Kill(killWait), g.Close()); err != nil {
			l.log.Warn("a left cgroup cannot be removed", "kernel_id", id, "err", err)
		}
	}
}

// groupOf is the cgroup that a record names, or for one that was written before its process was known the one that
// holds it; nil if there is none.
func (l *Local) groupOf(r Record) []string {
	if len(r.Cgroup) > 0 || l.groups == nil {
		return r.Cgroup
	}
	for _, id := range l.groups.IDs() {
		if g := l.groups.Find(id); g != nil && slices.Contains(g.PIDs(), r.PID) {
			return g.Paths()
		}
	}
	return nil
}

func (l *Local) noteAdopted(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, dir := range r.Cgroup {
		l.adopted[filepath.Clean(dir)] = true
	}
}

func (l *Local) isAdopted(g *cgroup.Group) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(g.Paths(), func(dir string) bool { return l.adopted[dir] })
}

// Close removes what the Local keeps for its kernels' cgroups, if none is left. Kernels are not its business.
func (l *Local) Close() {
	if l.groups != nil {
		l.groups.Close()
	}
}

// inGroup are the processes in p's cgroup.
func (p *localProcess) inGroup() map[int]bool {
	in := map[int]bool{}
	if p.group != nil {
		for _, pid := range p.group.PIDs() {
			in[pid] = true
		}
	}
	return in
}

// Usage implements Process.
func (p *localProcess) Usage() (Usage, bool) {
	if p.group != nil {
		if g, ok := p.group.Usage(); ok {
			u := Usage{MemoryBytes: g.MemoryBytes, CPU: g.CPU, Processes: g.Processes}
			if u.CPU == 0 { // v1 counts it in a hierarchy that limits do not need
				u.CPU = cpuTime(p.record.PID)
			}
			return u, true
		}
	}
	return processUsage(p.record)
}

// Memory implements Process.
func (p *localProcess) Memory() (used int64, kills uint64, ok bool) {
	switch p.record.Enforced.MemoryBy {
	case byCgroup:
		if p.group != nil {
			return p.group.Memory()
		}
	case byRlimit:
		u, ok := processUsage(p.record)
		return u.MemoryBytes, 0, ok
	}
	return 0, 0, false
}
