package contents

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A sidecar says what an upload is, in one line of JSON, and then, one line each, what was done to it:
// "+ FROM TO CHUNK" for a range that is on the disk, "< CHUNK" when that chunk and those after it were dropped.
// Lines are appended in one write, after the bytes they speak of are synced; a line that a crash has cut has
// no newline and is not believed.
type sidecar struct {
	Root   string `json:"root"` // the folder of sidecars may serve several
	ID     string `json:"id"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Folder string `json:"folder"`
	Name   string `json:"name"`
	Part   string `json:"part"`
}

// sidecarSuffix keeps other files in the folder from being taken for sidecars.
const sidecarSuffix = ".upload"

// errOtherRoot is a sidecar that another server's root has to care for.
var errOtherRoot = errors.New("an upload of another root")

func (u *Upload) sidecarPath() string {
	sum := sha256.Sum256([]byte(u.id))
	return filepath.Join(u.staging.sidecars, hex.EncodeToString(sum[:16])+"-"+u.part+sidecarSuffix)
}

func (u *Upload) writeSidecar() error {
	if err := os.MkdirAll(u.staging.sidecars, 0o700); err != nil {
		return err
	}
	head, err := json.Marshal(sidecar{u.staging.dir.root, u.id, u.path.rel, u.size, u.folder, u.name, u.part})
	if err != nil {
		return err
	}
	return os.WriteFile(u.sidecarPath(), append(head, '\n'), 0o600)
}

func (u *Upload) appendSidecar(r Range, chunk int) error {
	return u.appendLine(fmt.Sprintf("+ %d %d %d\n", r.From, r.To, chunk))
}

func (u *Upload) appendLine(line string) error {
	f, err := os.OpenFile(u.sidecarPath(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(line)
	return err
}

func (u *Upload) removeSidecar() {
	_ = os.Remove(u.sidecarPath()) // one without its part is removed when it is read
	u.staging.removeDir()
}

// readSidecars takes up the uploads of an earlier process. What is damaged, or has lost its part, is dropped.
func (s *Staging) readSidecars() {
	entries, err := os.ReadDir(s.sidecars)
	if err != nil {
		return // no uploads were left
	}
	for _, e := range entries {
		name := filepath.Join(s.sidecars, e.Name())
		if !strings.HasSuffix(name, sidecarSuffix) || !e.Type().IsRegular() {
			continue
		}
		u, err := s.readSidecar(name)
		if err == nil {
			_, err = s.enter(u)
		}
		if err != nil && err != errOtherRoot {
			_ = os.Remove(name)
		}
	}
}

func (s *Staging) readSidecar(name string) (*Upload, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(f)
	head, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var h sidecar
	if err := json.Unmarshal(head, &h); err != nil {
		return nil, err
	}
	if h.Root != s.dir.root {
		return nil, errOtherRoot
	}
	p, err := ParsePath(h.Path)
	if err != nil {
		return nil, err
	}
	u := &Upload{staging: s, id: h.ID, path: p, size: h.Size, folder: h.Folder, name: h.Name, part: h.Part,
		writers: map[*writer]struct{}{}, turn: make(chan struct{}, 1)}
	if err := u.replay(r); err != nil {
		return nil, err
	}
	u.modified = info.ModTime()
	part, err := u.openPart()
	if err != nil {
		return nil, err
	}
	return u, part.Close()
}

// replay takes the lines of a sidecar up to the first that is not whole.
func (u *Upload) replay(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil
		}
		var x Range
		var chunk int
		if _, err := fmt.Sscanf(line, "+ %d %d %d\n", &x.From, &x.To, &chunk); err == nil {
			if x.From < 0 || x.To < x.From || chunk < 0 || chunk > len(u.chunks)+1 {
				return fmt.Errorf("sidecar line %q", line)
			}
			if err := u.noted(x, chunk); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Sscanf(line, "< %d\n", &chunk); err != nil || chunk < 1 || chunk > len(u.chunks) {
			return fmt.Errorf("sidecar line %q", line)
		}
		u.dropped(chunk)
	}
}

// dropLine is the record of drop.
func dropLine(chunk int) string { return fmt.Sprintf("< %d\n", chunk) }

// dropped forgets a chunk and those after it. Call it with mu held.
func (u *Upload) dropped(chunk int) {
	u.held = u.held.within(Range{0, u.chunks[chunk-1].From})
	u.chunks = u.chunks[:chunk-1]
	u.cursor = len(u.chunks)
	u.modified = time.Now()
}
