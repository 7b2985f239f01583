package kernel

import (
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	// diskCheck is how often a confined kernel's folders are measured: what it writes meanwhile comes on top.
	diskCheck = time.Second
	// diskShare bounds what measuring large folders costs: a twentieth of one processor.
	diskShare = 20
	// diskEntryBytes is what an empty file counts: its entry and inode are on the disk, too.
	diskEntryBytes = 4 << 10
)

// bounded puts the limit on the size of single files in front of a command. It holds at once, unlike watchDisk.
// ulimit counts in 512 bytes: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/ulimit.html
func (s *Sandbox) bounded(argv []string) []string {
	if s.DiskBytes == 0 {
		return argv
	}
	blocks := strconv.FormatInt(s.DiskBytes/512+1, 10)
	return append([]string{"/bin/sh", "-c", `ulimit -f "$0" && exec "$@"`, blocks}, argv...)
}

// folders are where a confined kernel can write on the disk: where it makes its sockets it can make files, too.
func (s *Sandbox) folders(connectionDir string) []string {
	dirs := []string{s.Folder, connectionDir}
	if s.Home != "" {
		dirs = append(dirs, s.Home)
	}
	return dirs
}

// watchDisk keeps what the tree holds in dirs below limit, until the process has ended or is left: code that goes beyond it
// is interrupted, and killed when it goes on. Who is beyond it from the start may still remove things.
func (p *localProcess) watchDisk(dirs []string, limit int64) {
	timer := time.NewTimer(diskCheck)
	defer timer.Stop()
	last, strikes := int64(-1), 0 // -1: what was there before the process is not its doing
	for {
		select {
		case <-p.done:
			return
		case <-p.left:
			return
		case <-timer.C:
		}
		begun := time.Now()
		now := int64(0)
		for _, dir := range dirs {
			now += folderBytes(dir)
		}
		took := time.Since(begun)
		switch {
		case now <= limit:
			strikes = 0
		case last < 0 || now <= last: // it may stay beyond, and remove what it has
		case strikes < 2: // what it was writing as it was interrupted may have come to its end since
			strikes++
			_ = p.Interrupt()
		default:
			p.mu.Lock()
			p.overDisk = !p.ended
			p.mu.Unlock()
			_ = p.Kill()
		}
		last = now
		timer.Reset(max(diskCheck, diskShare*took))
	}
}

// folderBytes is what is allocated in a folder. Links are not followed, also when one takes a folder's place
// meanwhile.
func folderBytes(dir string) (sum int64) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(_ string, e fs.DirEntry, err error) error {
		if err != nil { // gone meanwhile, or closed to us
			return nil
		}
		sum += diskEntryBytes
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}
