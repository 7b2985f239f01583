package kernel

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	// maxRecovering is how many kernels are taken over at the same time: each reads some files.
	maxRecovering = 16
	// maxLost bounds the kernels that are known although they have ended. Most are forgotten with their session,
	// but nobody may ask for one that was started without.
	maxLost = 500
)

// Recover takes over the kernels that an earlier Manager recorded in the same Config.StateDir, and returns when all
// are known. It is to be called once, before anything else; without a StateDir it does nothing.
//
// A kernel whose process lives keeps id, kernelspec, client sessions and state, is connected again in the
// background, and is busy until it has answered. One whose process is gone is Lost. A record that cannot be read is
// set aside, with a note beside it, and its process ended, as is every other process that was started from this
// StateDir and that no record has. The fault is of the folder itself: nothing was taken over then, nor touched.
func (m *Manager) Recover(ctx context.Context) error {
	if m.cfg.StateDir == "" {
		return nil
	}
	dir := filepath.Join(m.cfg.StateDir, kernelsFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stateFault(err)
	}
	marks, err := markPrefix(dir)
	if err != nil {
		return stateFault(err)
	}
	records, err := m.readRecords(dir)
	if err != nil {
		return stateFault(err)
	}
	m.mu.Lock()
	m.marks = marks
	for _, r := range records {
		m.started = max(m.started, r.Order)
	}
	m.mu.Unlock()
	keep := m.recoverAll(ctx, records)
	if stray := m.prov.EndStrays(marks, keep); len(stray) > 0 {
		m.cfg.Logger.Warn("processes of kernels that nobody knows ended", "count", len(stray))
	}
	m.mu.Lock()
	m.waiting = false
	m.mu.Unlock()
	m.forgetLost(ctx)
	return nil
}

// markPrefix is how the marks of processes begin that are started from a folder: by the folder itself, whatever its
// path, so that two servers that see different folders under one path do not end each other's kernels.
func markPrefix(dir string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("a folder without a number")
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", st.Dev, st.Ino))
	return hex.EncodeToString(sum[:8]) + "-", nil
}

// readRecords reads what there is, by the order of the kernels' starts, and sets aside what cannot be read.
func (m *Manager) readRecords(dir string) ([]*saved, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var records []*saved
	for _, e := range entries {
		if !e.IsDir() || !idPattern.MatchString(e.Name()) { // set aside before, or nothing of ours
			continue
		}
		folder := filepath.Join(dir, e.Name())
		r, err := readRecord(folder)
		if err == nil {
			records = append(records, r)
			continue
		}
		if fault.OutOfDescriptors(err) { // it says nothing about the record
			return nil, err
		}
		if errors.Is(err, fs.ErrNotExist) && removeEmpty(folder) { // its start had hardly begun
			continue
		}
		aside, err := setAside(folder, err)
		m.cfg.Logger.Error("kernel's record set aside", "kernel_id", e.Name(), "path", aside, "err", err)
	}
	slices.SortFunc(records, func(a, b *saved) int { return cmp.Compare(a.Order, b.Order) })
	return records, nil
}

// removeEmpty removes a kernel's folder in which nothing was finished, or only the journal is left of a kernel that
// was shut down; false when there is more in it.
func removeEmpty(folder string) bool {
	entries, err := os.ReadDir(folder)
	if err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), ".") && e.Name() != journalFolder }) {
		return false
	}
	return os.RemoveAll(folder) == nil
}

// setAside renames a folder whose record cannot be used because of why, and leaves a note in it.
func setAside(folder string, why error) (aside string, err error) {
	now := time.Now().UTC()
	aside = folder + ".damaged-" + now.Format("20060102T150405.000Z")
	note := fmt.Sprintf("nbserv set this folder aside at %s: %s cannot be used: %v.\n"+
		"Its kernel, if it still ran, was ended. Nothing here is needed any more.\n", now.Format(time.RFC3339), recordFile, why)
	if err := os.Rename(folder, aside); err != nil {
		return folder, errors.Join(why, err)
	}
	return aside, errors.Join(why, os.WriteFile(filepath.Join(aside, "note.txt"), []byte(note), 0o600))
}

// recoverAll takes over the kernels of all records, and gives the marks of the processes that may live.
func (m *Manager) recoverAll(ctx context.Context, records []*saved) (marks map[string]bool) {
	marks = make(map[string]bool)
	room := make(chan struct{}, maxRecovering)
	var wg sync.WaitGroup
	for _, r := range records {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			k := newKernel(m, r.Start, r.Order)
			lives := k.recover(ctx, r, room)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.kernels[k.id] = k
			if lives {
				marks[r.Process.Mark] = true
			}
			k.announce()
		})
	}
	wg.Wait()
	return marks
}

// recover makes k, which nobody knows yet, the kernel that r records. It reports whether its process may live. What
// the journal tells is read in the background, by as many kernels at a time as there is room.
func (k *Kernel) recover(ctx context.Context, r *saved, room chan struct{}) (lives bool) {
	k.record, k.own, k.voice = *r, r.Own, r.Own
	k.spec, k.deaths = r.Spec, r.Deaths
	k.restored = make(chan struct{})
	if j, err := OpenJournal(k.journalFolder(), k.cfg.Journal, k.budget); err == nil {
		k.journal = j
	} else {
		k.log.Error("a kernel goes on without its journal", "err", err)
	}
	lives = k.find(ctx, r)
	k.wg.Go(func() {
		defer k.release()
		room <- struct{}{}
		defer func() { <-room }()
		k.restore()
	})
	return lives
}

// find adopts k's process, or finds out what became of it.
func (k *Kernel) find(ctx context.Context, r *saved) (lives bool) {
	if r.Dead != "" {
		k.lose(r.Dead)
		return false
	}
	proc, err := k.prov.Adopt(ctx, r.Process)
	switch {
	case err == nil:
		k.adopt(proc, r)
	case fault.KindOf(err) == fault.Gone:
		k.lose(fault.Message(err))
		return false
	default: // it may live, so that its record stays as it is
		k.log.Error("cannot take over a kernel", "err", err)
		k.state, k.reason, k.lost = stateDead, "the kernel could not be taken over after the server's restart", true
	}
	return true
}

// adopt goes on with a process that an earlier server started.
func (k *Kernel) adopt(proc Process, r *saved) {
	inc := newIncarnation(&Connection{Info: r.Connection.Info, File: r.Connection.File, Dir: r.Connection.Dir})
	inc.identities = append(r.Identities, inc.identities...)
	inc.proc, inc.born, inc.adopted, inc.served = proc, r.Born, true, r.Ready
	if r.Ready {
		k.state = stateBusy // until it has answered
	}
	k.inc = inc
	k.record.Process = proc.Record()
	k.recordIdentities(inc)
	k.metrics.adopted.Inc()
	k.log.Info("kernel process taken over", "pid", proc.Record().PID, "spec", r.Spec.Name)
	k.wg.Go(func() { k.watch(inc) })
}

// lose makes a kernel of which the process is gone.
func (k *Kernel) lose(why string) {
	files := Connection{Dir: k.record.Connection.Dir}
	if err := files.Close(); err != nil {
		k.log.Warn("cannot remove a connection file", "err", err)
	}
	k.state, k.reason, k.lost = stateDead, why, true
	if k.record.Dead == "" {
		k.recordDeath(why)
	}
	k.log.Warn("kernel is lost", "reason", why)
}

func (k *Kernel) isLost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

// forgetLost forgets the oldest of too many lost kernels.
func (m *Manager) forgetLost(ctx context.Context) {
	lost := slices.DeleteFunc(m.all(), func(k *Kernel) bool { return !k.isLost() })
	for _, k := range lost[:max(0, len(lost)-maxLost)] {
		m.cfg.Logger.Warn("lost kernel forgotten: there are too many", "kernel_id", k.id)
		if err := m.shutdown(ctx, k.id, byShutdown, "there were too many lost kernels"); err != nil {
			m.cfg.Logger.Error("cannot forget a lost kernel", "kernel_id", k.id, "err", err)
		}
	}
}
