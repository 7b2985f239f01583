package lab

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// liveName is our own extension: after a reload it goes on with the cells that still run. It is served like the
// installed ones, from this program, and can be disabled like them.
const liveName = "@nbserv/live"

//go:embed live
var liveFiles embed.FS

// liveScript is our own extension's program; liveLoad its name, which changes with it.
const liveScript = "static/remoteEntry.js"

var liveLoad = sync.OnceValue(func() string {
	raw, err := liveFiles.ReadFile("live/" + liveScript)
	if err != nil {
		panic(err) // it is part of this program
	}
	sum := sha256.Sum256(raw)
	return strings.TrimSuffix(liveScript, ".js") + "." + hex.EncodeToString(sum[:8]) + ".js"
})

// live is our own extension as an installed one would be found.
func live() extension {
	var e extension
	raw, err := liveFiles.ReadFile("live/package.json")
	if err == nil {
		err = json.Unmarshal(raw, &e.Package)
	}
	if err != nil {
		panic(err)
	}
	e.Package.JupyterLab.Build.Load = liveLoad()
	return e
}

// serveLive serves a file of our own extension.
func serveLive(w http.ResponseWriter, r *http.Request, file string) error {
	file = strings.TrimPrefix(file, liveName+"/")
	caching := revalidate
	if file == liveLoad() {
		file, caching = liveScript, forever
	}
	raw, err := fs.ReadFile(liveFiles, path.Join("live", file))
	if err != nil {
		return fault.New(fault.NotFound, "there is no file %.200q", file)
	}
	sum := sha256.Sum256(raw)
	h := w.Header()
	h.Set("Cache-Control", caching)
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(file)))
	h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
	return nil
}
