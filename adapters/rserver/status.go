package rserver

import (
	"archive/zip"
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// status looks at what the API needs: green is well, yellow works in part, red does not work. When neither the database
// nor the folder can be looked at it is Internal: the server cannot tell.
func (s *Server) status(ctx context.Context, address string) (*statusResponse, error) {
	backend := s.backendStatus()
	database := &statusResponse{StatusCode: green, Details: map[string]any{"name": "main", "state": "Open"}}
	if err := s.rows.ping(ctx); err != nil {
		if backend.Details["can Write"] == false {
			return nil, fault.Wrap(fault.Internal, err, "the server cannot tell its own status")
		}
		s.log.Warn("the database does not answer", "err", err)
		database.StatusCode, database.Details["state"] = red, "Broken"
	}
	backends := &statusResponse{
		StatusCode: backend.StatusCode, Details: map[string]any{},
		Components: map[string]*statusResponse{address + "/": backend},
	}
	return &statusResponse{
		StatusCode: worst(backends.StatusCode, database.StatusCode), Details: map[string]any{},
		Components: map[string]*statusResponse{"backends": backends, "database": database},
	}, nil
}

func worst(codes ...string) string {
	found := green
	for _, c := range codes {
		if c == red || c == yellow && found == green {
			found = c
		}
	}
	return found
}

// backendStatus is about the kernels and the folder. Without R the backend is red; without Python alone it is yellow.
func (s *Server) backendStatus() *statusResponse {
	canR, canPython := s.hasKernel(runtimeR), s.hasKernel(runtimePython)
	written, read, zipped := s.tryFolder()
	workers, busy := 0, 0
	for _, p := range s.workerPools() {
		t, b := p.counts()
		workers, busy = workers+t, busy+b
	}
	s.mu.Lock()
	sessions, warm := len(s.sessions), 0
	for _, p := range s.pools {
		warm += p.Ready()
	}
	s.mu.Unlock()
	code := green
	switch {
	case !written || !read || !zipped || !canR && !canPython:
		code = red
	case !canR || !canPython:
		code = yellow
	}
	return &statusResponse{StatusCode: code, Details: map[string]any{
		"can Open Shell": canR || canPython, "can Open R Shell": canR, "can Open Python Shell": canPython,
		"can Write": written, "can Read": read, "can Zip": zipped,
		"max Pool Size": s.cfg.MaxSessions + s.cfg.MaxAllWorkers, "active Shell Count": sessions + busy,
		"current Pool Size": sessions + workers + warm, "ready Shell Count": warm,
	}}
}

func (s *Server) hasKernel(r *runtime) bool {
	return s.cfg.HasKernel == nil || s.cfg.HasKernel(s.kernelspec(r))
}

// tryFolder writes, reads and zips a few bytes where sessions and snapshots are.
func (s *Server) tryFolder() (written, read, zipped bool) {
	path := filepath.Join(s.cfg.Dir, "snapshots", ".status-"+uuid.NewString())
	defer func() { _ = os.Remove(path) }()
	const text = "status"
	if written = os.WriteFile(path, []byte(text), 0o600) == nil; !written {
		return
	}
	back, err := os.ReadFile(path)
	read = err == nil && string(back) == text
	z := zip.NewWriter(io.Discard)
	w, err := z.Create("status")
	if err == nil {
		_, err = w.Write(back)
	}
	zipped = err == nil && z.Close() == nil
	return
}
