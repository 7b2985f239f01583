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
// "+ FROM TO CHUNK ." for a range that was written, "< CHUNK ." when that chunk and those after it were dropped.
// Each begins with a newline, too, so that one which a crash or a full disk has cut spoils no other; without its
// end it is not believed.
//
// Lines survive the server's death, and so do the bytes that they speak of. A crash of the machine may lose the
// bytes and not the lines: so lines of another run of the machine are not believed either.
type sidecar struct {
	Root   string `json:"root"` // the folder of sidecars may serve several
	ID     string `json:"id"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Folder string `json:"folder"`
	Below  string `json:"below,omitempty"`
	Name   string `json:"name"`
	Part   string `json:"part"`
	Boot   string `json:"boot,omitempty"`
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
	head, err := json.Marshal(sidecar{u.staging.dir.root, u.id, u.path.rel, u.size, u.folder, u.below, u.name, u.part, u.staging.boot})
	if err != nil {
		return err
	}
	name := u.sidecarPath()
	temp := strings.TrimSuffix(name, sidecarSuffix) + ".new" // read by nobody
	if err := os.WriteFile(temp, append(head, '\n'), 0o600); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return os.Rename(temp, name)
}

func (u *Upload) appendSidecar(r Range, chunk int) error {
	return u.appendLine(fmt.Sprintf("+ %d %d %d .", r.From, r.To, chunk))
}

func (u *Upload) appendLine(line string) error {
	f, err := os.OpenFile(u.sidecarPath(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("\n" + line + "\n")
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
	u := &Upload{staging: s, id: h.ID, path: p, size: h.Size, place: place{h.Folder, h.Below, h.Name}, part: h.Part,
		writers: map[*writer]struct{}{}, turn: make(chan struct{}, 1)}
	part, err := u.openPart()
	if err != nil {
		return nil, err
	}
	defer part.Close()
	if h.Boot != s.boot {
		u.modified = time.Now()
		return u, u.writeSidecar()
	}
	if err := u.replay(r); err != nil {
		return nil, err
	}
	// From here on the time is measured, also while somebody sets the clock.
	now := time.Now()
	u.modified = now.Add(-max(0, now.Sub(info.ModTime())))
	return u, nil
}

// replay takes the lines of a sidecar that are whole.
func (u *Upload) replay(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil
		}
		if line = strings.TrimSuffix(line, "\n"); !strings.HasSuffix(line, " .") {
			continue
		}
		var x Range
		var chunk int
		if _, err := fmt.Sscanf(line, "+ %d %d %d .", &x.From, &x.To, &chunk); err == nil {
			if x.From < 0 || x.To < x.From || chunk < 0 || chunk > len(u.chunks)+1 {
				return fmt.Errorf("sidecar line %q", line)
			}
			if err := u.noted(x, chunk); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Sscanf(line, "< %d .", &chunk); err != nil || chunk < 1 || chunk > len(u.chunks) {
			return fmt.Errorf("sidecar line %q", line)
		}
		u.dropped(chunk)
	}
}

// dropLine is the record of drop.
func dropLine(chunk int) string { return fmt.Sprintf("< %d .", chunk) }

// dropped forgets a chunk and those after it. Call it with mu held.
func (u *Upload) dropped(chunk int) {
	u.held = u.held.within(Range{0, u.chunks[chunk-1].From})
	u.bytes.Store(u.held.len())
	u.chunks = u.chunks[:chunk-1]
	u.cursor = len(u.chunks)
	u.modified = time.Now()
}
