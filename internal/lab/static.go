package lab

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	// forever is for files whose name changes with their contents.
	forever = "public, max-age=31536000, immutable"
	// revalidate lets a browser keep a file and ask whether it is still the same.
	revalidate = "no-cache"

	minCompress = 1 << 10  // smaller files fit into a packet
	maxCompress = 16 << 20 // larger ones are sent as they are
)

// hash is where in a name a hash of the contents may be: main.efd36b46f3b45eb8.js, 0031b1860ea4ad75.woff, remoteEntry.698dcaf7.js.
var hash = regexp.MustCompile(`(?:^|[.\-_])([0-9a-f]{8,64})\.\w+(?:\.map)?$`)

// isHashed tells a hash from a date or another number.
func isHashed(name string) bool {
	m := hash.FindStringSubmatch(name)
	return m != nil && (len(m[1]) >= 16 || strings.ContainsAny(m[1], "abcdef"))
}

// types are those of the files that JupyterLab and its extensions consist of; what the machine knows about others
// comes second. Those with true are worth compressing.
var types = map[string]struct {
	name string
	text bool
}{
	".js": {"text/javascript; charset=utf-8", true}, ".mjs": {"text/javascript; charset=utf-8", true},
	".css": {"text/css; charset=utf-8", true}, ".json": {"application/json", true}, ".map": {"application/json", true},
	".html": {"text/html; charset=utf-8", true}, ".svg": {"image/svg+xml", true}, ".txt": {"text/plain; charset=utf-8", true},
	".wasm": {"application/wasm", true}, ".ttf": {"font/ttf", true}, ".eot": {"application/vnd.ms-fontobject", true},
	".woff": {"font/woff", false}, ".woff2": {"font/woff2", false}, ".png": {"image/png", false}, ".ico": {"image/x-icon", false},
}

// assets serves the files of an installation. They are the administrator's, not a user's: links among them are followed,
// as package managers make them.
type assets struct{ packed *packed }

func newAssets() *assets { return &assets{packed: newPacked(maxPacked)} }

// serve writes the file name of the first of dirs that has it.
func (a *assets) serve(w http.ResponseWriter, r *http.Request, dirs []string, name string) error {
	f, info, err := openIn(dirs, name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("Cache-Control", revalidate)
	if isHashed(path.Base(name)) {
		h.Set("Cache-Control", forever)
	}
	t, known := types[strings.ToLower(path.Ext(name))]
	if !known {
		t.name = mime.TypeByExtension(path.Ext(name))
	}
	if t.name == "" {
		t.name = "application/octet-stream"
	}
	h.Set("Content-Type", t.name)
	etag := fmt.Sprintf("%x-%x", info.ModTime().UnixNano(), info.Size())
	if t.text && info.Size() >= minCompress && info.Size() <= maxCompress {
		h.Set("Vary", "Accept-Encoding")
		if enc := encodingFor(r); enc != "" {
			return a.servePacked(w, r, f, info, enc, etag)
		}
	}
	h.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

// servePacked writes a file compressed, which is done once.
func (a *assets) servePacked(w http.ResponseWriter, r *http.Request, f *os.File, info fs.FileInfo, enc, etag string) error {
	body, err := a.packed.get(packedKey{f.Name(), enc, etag}, func() ([]byte, error) {
		raw, err := io.ReadAll(io.LimitReader(f, maxCompress))
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "read a file of JupyterLab's")
		}
		return pack(enc, raw)
	})
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Encoding", enc)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("ETag", `"`+etag+`-`+enc+`"`)
	http.ServeContent(w, r, "", info.ModTime(), bytes.NewReader(body))
	return nil
}

// openIn opens a regular file below one of dirs; everything else is NotFound.
func openIn(dirs []string, name string) (*os.File, fs.FileInfo, error) {
	missing := fault.New(fault.NotFound, "there is no file %.200q", name)
	if !fs.ValidPath(name) || strings.Contains(name, `\`) || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return nil, nil, missing
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, filepath.FromSlash(name)), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
		if fault.OutOfDescriptors(err) {
			return nil, nil, fault.OS(err, "the file")
		}
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, info, nil
		}
		_ = f.Close()
	}
	return nil, nil, missing
}
