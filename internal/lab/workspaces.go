package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/text/unicode/norm"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	workspaceExt = ".jupyterlab-workspace"
	// maxWorkspaceBytes bounds a workspace: which documents are open and where. Real ones have a few KB (guess).
	maxWorkspaceBytes = 8 << 20
	// maxSlug is the longest name of a workspace's file without its extension, as the peer cuts it.
	maxSlug = 128 - len(workspaceExt)
	// signature is how many hexadecimal digits of an id's hash end its slug.
	signature = 4
)

// workspaces are the layouts that pages save, one file each, in jupyterlab_server's folder by its names. Safe for
// concurrent use; of two that save the same one the later wins.
type workspaces struct {
	dir string
	log *slog.Logger
}

func (ws *workspaces) path(id string) string { return filepath.Join(ws.dir, slug(id)+workspaceExt) }

// list gives all workspaces. One that cannot be read is left out with a note in the log.
func (ws *workspaces) list() ([]object, error) {
	entries, err := os.ReadDir(ws.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.OS(err, "the workspaces")
	}
	all := []object{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), workspaceExt) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		w, err := readWorkspace(filepath.Join(ws.dir, e.Name()))
		if err != nil {
			ws.log.Warn("a workspace is left out", "path", filepath.Join(ws.dir, e.Name()), "err", err)
			continue
		}
		all = append(all, w)
	}
	return all, nil
}

// get gives a workspace; one that nobody saved, or that cannot be read, is empty.
func (ws *workspaces) get(id string) object {
	w, err := readWorkspace(ws.path(id))
	if err == nil {
		return w
	}
	if !errors.Is(err, fs.ErrNotExist) {
		ws.log.Warn("a workspace is not used", "path", ws.path(id), "err", err)
	}
	return object{{"data", object{}.raw()}, {"metadata", object{{"id", mustJSON(rooted(id))}}.raw()}}
}

// readWorkspace reads a file and puts its times into the metadata.
func readWorkspace(path string) (object, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	raw, err := readAtMost(f, info, maxWorkspaceBytes)
	if err != nil {
		return nil, err
	}
	w, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	meta, err := parseObject(w.get("metadata"))
	if err != nil || meta.text("id") == "" {
		return nil, errors.Join(errors.New("its metadata has no id"), err)
	}
	modified, created := fileTimes(f)
	meta.set("last_modified", mustJSON(modified))
	meta.set("created", mustJSON(created))
	w.set("metadata", meta.raw())
	return w, nil
}

// put saves a workspace as the client sent it. What is no object, or says to be another workspace, is Invalid.
func (ws *workspaces) put(id string, raw []byte) error {
	w, err := parseObject(raw)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "a workspace should be a JSON object")
	}
	meta := w.object("metadata")
	said := rooted(meta.text("id"))
	unescaped, _ := url.PathUnescape(said) // some pages say it as it stands in an address
	if said != rooted(id) && unescaped != rooted(id) {
		return fault.New(fault.Invalid, "metadata.id %.200q is not the workspace %.200q", meta.text("id"), id)
	}
	return fault.OS(replaceFile(ws.path(id), raw), "the workspace")
}

// delete removes a workspace; one that is not there is NotFound.
func (ws *workspaces) delete(id string) error {
	return fault.OS(removeFile(ws.path(id)), "the workspace")
}

func rooted(id string) string {
	if strings.HasPrefix(id, "/") {
		return id
	}
	return "/" + id
}

var (
	escapes   = regexp.MustCompile(`(?:%[0-9a-f]{2})+`)
	notInSlug = regexp.MustCompile(`[^\w\s-]`)
	slugDash  = regexp.MustCompile(`[-\s]+`)
)

// slug is jupyterlab_server's name for a workspace's file: what of the id is fit for one, and the beginning of a hash
// that tells ids apart which have that in common. It has letters, digits, "_" and "-" only.
func slug(id string) string {
	raw := rooted(id)
	sum := sha256.Sum256([]byte(raw[1:]))
	sign := "-" + hex.EncodeToString(sum[:])[:signature]
	name := strings.ToLower(raw)
	name = escapes.ReplaceAllStringFunc(name, func(s string) string {
		decoded, _ := url.PathUnescape(s) // escapes are all it has
		return decoded
	})
	name = strings.Map(func(r rune) rune {
		if r > 0x7f {
			return -1
		}
		return r
	}, norm.NFKC.String(name))
	name = slugDash.ReplaceAllString(strings.TrimSpace(notInSlug.ReplaceAllString(name, "")), "-")
	return name[:min(len(name), maxSlug-len(sign))] + sign
}
