package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	journalFolder = "journal"     // in a kernel's own folder, too
	kernelsFolder = "kernels"     // in the state folder
	recordFile    = "record.json" // in a kernel's own folder there
	recordVersion = 1
)

// saved is what a kernel's record says: all that a later Manager needs to go on with the kernel.
type saved struct {
	Version    int
	ID         string
	Order      uint64 // of its start among the kernels
	Start      StartOptions
	Spec       Spec // as of the last launch
	Connection savedConnection
	Process    Record    // without PID while the process is being started
	Born       time.Time // the process
	Deaths     int       // in a row
	Ready      bool      // the process has taken clients' messages
	Identities []string  // ours to the kernel's sockets, by which its answers find us again; the newest last
	Own        string    // the client session of the server's own requests
	Dead       string    // why it is dead for good; "" while it is not
}

// savedConnection is a Connection in a record.
type savedConnection struct {
	Info      ConnectionInfo
	File, Dir string
}

// save writes s into the kernel's folder, which it makes when it is missing. A reader finds the old record or the
// new one, whole; with sync also after a crash of the machine.
func (s *saved) save(dir string, sync bool) error {
	raw, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fault.Wrap(fault.Internal, err, "encode a kernel's record")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stateFault(err)
	}
	f, err := os.CreateTemp(dir, "."+recordFile+"-*") // 0600
	if err != nil {
		return stateFault(err)
	}
	_, err = f.Write(raw)
	if err == nil && sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, recordFile))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return stateFault(err)
	}
	if sync {
		err = errors.Join(syncFolder(dir), syncFolder(filepath.Dir(dir)))
	}
	return stateFault(err)
}

// syncFolder makes the names in a folder survive a crash of the machine.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// stateFault is the fault of a failure in the state folder; nil for nil.
func stateFault(err error) error {
	if err == nil {
		return nil
	}
	return fault.Wrap(fault.KindOf(err), err, "the server cannot write to its state folder")
}

// maxRecordBytes bounds a record that is read: a kernelspec and an environment have at most 1 MiB each.
const maxRecordBytes = 8 << 20

// readRecord reads the record in a kernel's folder, of which the name is the kernel's id. What is not whole, or
// not a record of that kernel as save writes it, is an error.
func readRecord(dir string) (*saved, error) {
	path := filepath.Join(dir, recordFile)
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxRecordBytes:
		return nil, errors.New("it is not a file of a record's size")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseRecord(filepath.Base(dir), raw)
}

// parseRecord reads the record of the kernel id.
func parseRecord(id string, raw []byte) (*saved, error) {
	s := new(saved)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, err
	}
	c := s.Connection
	switch {
	case s.Version != recordVersion:
		return nil, fmt.Errorf("its version is %d", s.Version)
	case s.ID != id || s.Start.ID != id || !idPattern.MatchString(id):
		return nil, errors.New("it is of another kernel")
	case s.Process.Mark == "" || len(s.Identities) == 0 || s.Own == "":
		return nil, errors.New("it is not complete")
	// The folder is removed with the kernel: none but one that NewConnection made may stand here.
	case !filepath.IsAbs(c.Dir) || filepath.Clean(c.Dir) != c.Dir || !strings.HasPrefix(filepath.Base(c.Dir), connectionFolder) ||
		c.File != filepath.Join(c.Dir, connectionFile(id)):
		return nil, errors.New("its connection file is somewhere else")
	}
	return s, nil
}

// recordLaunch writes down that a process of spec is about to be started for inc. Should this server die before it
// can say which one, the next finds that process by its mark. Only a kernel's first process fails with its record:
// a later one had better run without.
func (k *Kernel) recordLaunch(inc *incarnation, spec Spec) error {
	k.mu.Lock()
	deaths := k.deaths
	k.mu.Unlock()
	first := k.record.ID == ""
	start := k.start
	start.ID = k.id
	k.record = saved{
		Version: recordVersion, ID: k.id, Order: k.order, Start: start, Spec: spec,
		Connection: savedConnection{inc.files.Info, inc.files.File, inc.files.Dir},
		Process:    Record{Mark: k.marks + randomHex(markBytes)},
		Born:       inc.born, Deaths: deaths, Identities: inc.identities, Own: k.own,
	}
	err := k.saveRecord(false)
	if err != nil && !first {
		k.log.Error("cannot record a kernel: the next server may not find it", "err", err)
		return nil
	}
	return err
}

// recordProcess writes down which process was started. Its mark is on the disk already, and does where this fails.
func (k *Kernel) recordProcess(r Record) {
	k.record.Process = r
	if err := k.saveRecord(true); err != nil {
		k.log.Warn("cannot record a kernel's process", "err", err)
	}
}

// recordIdentities writes down by which names the process knows us.
func (k *Kernel) recordIdentities(inc *incarnation) {
	k.record.Identities = inc.identities
	if err := k.saveRecord(false); err != nil {
		k.log.Warn("cannot record a kernel's connection", "err", err)
	}
}

// recordReady writes down that the process has taken clients' messages.
func (k *Kernel) recordReady() {
	if k.record.Ready {
		return
	}
	k.record.Ready = true
	if err := k.saveRecord(false); err != nil {
		k.log.Warn("cannot record that a kernel is ready", "err", err)
	}
}

// recordDeath writes down why the kernel is dead for good.
func (k *Kernel) recordDeath(why string) {
	if k.record.ID == "" { // it never got so far
		return
	}
	k.record.Dead = why
	if err := k.saveRecord(true); err != nil {
		k.log.Warn("cannot record a kernel's death", "err", err)
	}
}

func (k *Kernel) saveRecord(sync bool) error {
	if k.folder == "" {
		return nil
	}
	return k.record.save(k.folder, sync)
}

// removeRecord removes the kernel's folder, but for the journal, which takes the folder with it when it goes.
func (k *Kernel) removeRecord() {
	if k.folder == "" {
		return
	}
	err := os.Remove(filepath.Join(k.folder, recordFile)) // by its name: without descriptors, too
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	entries, _ := os.ReadDir(k.folder) // what a crash has left beside it
	for _, e := range entries {
		if e.Name() != journalFolder {
			err = errors.Join(err, os.RemoveAll(filepath.Join(k.folder, e.Name())))
		}
	}
	if err != nil {
		k.log.Warn("cannot remove a kernel's record", "err", err)
	}
	_ = os.Remove(k.folder)
}
