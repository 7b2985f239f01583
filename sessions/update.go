package sessions

import (
	"context"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// Update changes a session and gives what it is then. A session that gets another kernel takes the other
// sessions of its path along; the kernel it had is shut down unless a session of another path has it.
// Renaming to the path of a session whose kernel is dead replaces that session; to that of a living one see
// rename. Faults: NotFound; Invalid for a bad field or a kernel id that is not there; Unstartable when a new
// kernel does not start; Conflict when the path is taken.
func (m *Manager) Update(ctx context.Context, id string, p Patch) (Session, error) {
	if err := p.check(); err != nil {
		return Session{}, err
	}
	var to []string
	if p.Path != nil {
		to = []string{*p.Path}
	}
	b, unlock, err := m.hold(ctx, id, to...)
	if err != nil {
		return Session{}, err
	}
	defer unlock()
	return m.update(context.WithoutCancel(ctx), b, p)
}

// update changes b, whose locks the caller holds.
func (m *Manager) update(ctx context.Context, b binding, p Patch) (Session, error) {
	st, life := m.look(b)
	if life == gone {
		if err := m.write(ctx, Change{Drop: []string{b.row.ID}}); err != nil {
			return Session{}, err
		}
		return Session{}, notFound(b.row.ID)
	}
	var c Change
	row := p.apply(b.row)
	if row.Path != b.row.Path {
		var err error
		if st, err = m.rename(b, row, p, st, &c); err != nil {
			return Session{}, err
		}
	}
	st, own, err := m.rebind(ctx, row, p, st)
	if err != nil {
		return Session{}, err
	}
	row.KernelID, row.KernelName = st.ID, st.Spec
	c.Put = append(c.Put, row)
	if row.Path == b.row.Path && row.KernelID != b.row.KernelID {
		c.Put = append(c.Put, m.siblings(row)...)
	}
	if row == b.row {
		return session(row, st), nil
	}
	replaced := m.kernelsOf(c.Drop)
	if row.KernelID != b.row.KernelID {
		replaced = append(replaced, b.row.KernelID)
	}
	if err := m.write(ctx, c); err != nil {
		if own {
			m.retire(ctx, st.ID)
		}
		return Session{}, err
	}
	for _, id := range replaced {
		m.retire(ctx, id)
	}
	return session(row, st), nil
}

// kernelsOf gives the kernels of sessions.
func (m *Manager) kernelsOf(sessions []string) (ids []string) {
	for _, id := range sessions {
		if b, ok := m.index.get(id); ok {
			ids = append(ids, b.row.KernelID)
		}
	}
	return ids
}

// rebind finds or starts the kernel that p asks for; st is the one there is.
func (m *Manager) rebind(ctx context.Context, row Row, p Patch, st kernel.Status) (_ kernel.Status, own bool, err error) {
	switch {
	case p.KernelID == st.ID:
		return st, false, nil
	case p.KernelID != "":
		st, err := m.host.Get(p.KernelID)
		if fault.KindOf(err) == fault.NotFound && err != nil {
			return st, false, fault.New(fault.Invalid, "field %q: kernel %q does not exist", "kernel.id", p.KernelID)
		}
		return st, false, err
	case p.KernelName != "":
		return m.start(ctx, row, CreateRequest{KernelName: p.KernelName})
	}
	return st, false, nil
}

// siblings gives the rows of the other sessions of row's path, bound to row's kernel.
func (m *Manager) siblings(row Row) (rows []Row) {
	for _, o := range m.index.at(row.Path) {
		if o.row.ID != row.ID {
			o.row.KernelID, o.row.KernelName = row.KernelID, row.KernelName
			rows = append(rows, o.row)
		}
	}
	return rows
}

// rename prepares to move b to row.Path and gives the kernel it will have there. One path has one kernel, so
// a path whose session lives is Conflict, but for two cases that JupyterLab brings about. A session that
// already has the kernel of that path ("use the kernel of another session") comes beside the one that is
// there. So does one that still bears JupyterLab's placeholder, as when a second page opens the notebook at
// the same time: it is bound to the kernel there, if that is of the same kernelspec, and its own new one ends.
func (m *Manager) rename(b binding, row Row, p Patch, st kernel.Status, c *Change) (kernel.Status, error) {
	target := st.ID
	if p.KernelID != "" {
		target = p.KernelID
	}
	for _, o := range m.index.at(row.Path) {
		there, life := m.look(o)
		switch {
		case life != alive:
			c.Drop = append(c.Drop, o.row.ID)
		case o.row.KernelID == target && p.KernelName == "":
			continue
		case placeholder(b.row.Path) && p.KernelID == "" && p.KernelName == "" && there.Spec == st.Spec:
			st, target = there, there.ID
		default:
			return st, fault.New(fault.Conflict, "path %q has a session already, with another kernel (%s): join it or end it",
				row.Path, there.Spec)
		}
	}
	return st, nil
}
