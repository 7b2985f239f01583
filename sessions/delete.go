package sessions

import (
	"context"
	"slices"

	"github.com/nbserv/nbserv/internal/fault"
)

// Delete ends a session and shuts its kernel down, also when sessions of other paths have it: they end with
// it. Only a session of the same path keeps it, because a page that has opened a notebook twice deletes one
// of its two sessions. Faults: NotFound; Gone when the kernel had been shut down before, and the session
// with it.
func (m *Manager) Delete(ctx context.Context, id string) error {
	b, unlock, err := m.hold(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	m.index.setEnding(id, true) // from here on a create of this path waits for us
	if err := m.end(context.WithoutCancel(ctx), b); err != nil {
		m.index.setEnding(id, false)
		return err
	}
	return nil
}

// end ends b, whose lock the caller holds.
func (m *Manager) end(ctx context.Context, b binding) error {
	drop := Change{Drop: []string{b.row.ID}}
	_, was := m.look(b)
	shared := slices.ContainsFunc(m.index.at(b.row.Path), func(o binding) bool {
		return o.row.ID != b.row.ID && o.row.KernelID == b.row.KernelID
	})
	if was != gone && !shared {
		err := m.host.Shutdown(ctx, b.row.KernelID)
		switch {
		case err == nil:
		case fault.KindOf(err) != fault.NotFound:
			return err
		case was != lost: // the Host need not know that one
			was = gone
		}
	}
	if err := m.write(ctx, drop); err != nil {
		return err
	}
	m.log.Info("session deleted", "session_id", b.row.ID, "kernel_id", b.row.KernelID)
	if was == gone {
		return fault.New(fault.Gone, "the kernel of session %q was deleted before it", b.row.ID)
	}
	return nil
}
