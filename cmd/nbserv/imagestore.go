package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/adapters/imagestore"
	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// ImageStoreConfig says where the ImageStore is.
type ImageStoreConfig struct {
	Listen string // host:port of an address of its own; "" for none
	Dir    string // the folder that is the store
}

func (c *Config) validateImageStore() error {
	if c.ImageStore.Listen != "" {
		if err := c.checkAddress("--imagestore-listen", c.ImageStore.Listen); err != nil {
			return err
		}
	}
	if info, err := os.Stat(c.ImageStore.Dir); err != nil || !info.IsDir() {
		return fmt.Errorf("--imagestore-dir: %s is not a directory", c.ImageStore.Dir)
	}
	return nil
}

// imageStoreDialect is what authentication knows of it.
var imageStoreDialect = auth.Dialect{Has: imagestore.Has, WriteError: imagestore.WriteError}

// storeConfig makes the ImageStore's contents of the notebooks': the same limits, for programs. Links do not lead out
// of it (S8), nothing hidden and nothing of the server's own state is in it, and what is deleted is gone.
func (c *Config) storeConfig(state string) contents.Config {
	s := c.Contents
	s.RootDir, s.PreferredDir = c.ImageStore.Dir, ""
	s.ForPrograms, s.AlwaysDeleteDir = true, true
	s.FollowSymlinks, s.AllowHidden, s.DeleteToTrash = false, false, false
	s.MaxCopy = s.MaxUpload
	s.StagingDir = filepath.Join(state, "imagestore")
	s.Private = []string{state}
	return s
}

func (s *server) imageStore() *imagestore.API {
	return &imagestore.API{Files: s.store, MaxFile: s.cfg.Contents.MaxUpload}
}

// imageStoreEndpoint is the ImageStore on an address of its own. Nothing but its routes is there, and a root that
// answers clients which only look whether there is anything.
func (s *server) imageStoreEndpoint() http.Handler {
	r := mux.NewRouter().SkipClean(true)
	s.imageStore().Register(r)
	r.Use(s.metrics.observe)
	r.NotFoundHandler = http.HandlerFunc(s.notFound)
	r.MethodNotAllowedHandler = s.notAllowed(r)
	inside := s.auth.Wrap(r)
	top := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case imagestore.Has(r.URL.Path):
			inside.ServeHTTP(w, r)
		case r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			_ = httpx.WriteJSON(w, http.StatusOK, struct{}{})
		default:
			imagestore.WriteError(w, r, fault.New(fault.NotFound, "there is nothing at this address"))
		}
	})
	return s.chain(httpx.SecurityHeaders("/")(top))
}
