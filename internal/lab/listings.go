package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	listingsPath = "@jupyterlab/extensionmanager-extension/listings.json"
	// listingsLife is how long a list is used before it is fetched again: jupyterlab_server's listings_refresh_seconds.
	listingsLife    = time.Hour
	listingsTimeout = 10 * time.Second
	maxListingBytes = 4 << 20
)

// listings are the lists of extensions that an administrator blocks or allows, fetched from the addresses that the
// configuration names when somebody asks. Safe for concurrent use.
type listings struct {
	// immutable
	uris []string
	log  *slog.Logger

	mu      sync.Mutex // held while the lists are fetched: those who ask meanwhile want them, too
	fetched time.Time
	model   listingsModel
}

type listingsModel struct {
	BlockedURIs []string `json:"blocked_extensions_uris"`
	AllowedURIs []string `json:"allowed_extensions_uris"`
	lists
}

type lists struct {
	Blocked []json.RawMessage `json:"blocked_extensions"`
	Allowed []json.RawMessage `json:"allowed_extensions"`
}

func newListings(c Config, log *slog.Logger) *listings {
	empty := lists{[]json.RawMessage{}, []json.RawMessage{}}
	return &listings{uris: slices.Concat(c.BlockedURIs, c.AllowedURIs), log: log,
		model: listingsModel{append([]string{}, c.BlockedURIs...), append([]string{}, c.AllowedURIs...), empty}}
}

// get gives the lists. While one cannot be fetched, what was known before holds.
func (l *listings) get(ctx context.Context) listingsModel {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.uris) == 0 || !l.fetched.IsZero() && time.Since(l.fetched) < listingsLife {
		return l.model
	}
	l.fetched = time.Now()
	all := lists{[]json.RawMessage{}, []json.RawMessage{}}
	for _, uri := range l.uris {
		var one lists
		raw, err := fetchListing(ctx, uri)
		if err == nil {
			err = json.Unmarshal(raw, &one)
		}
		if ctx.Err() != nil {
			l.fetched = time.Time{} // the page that asked has gone: nobody knows whether the list can be fetched
			return l.model
		}
		if err != nil {
			l.log.Warn("a list of extensions cannot be fetched", "path", uri, "err", err)
			return l.model
		}
		all.Blocked, all.Allowed = append(all.Blocked, one.Blocked...), append(all.Allowed, one.Allowed...)
	}
	l.model.lists = all
	return l.model
}

func fetchListing(ctx context.Context, uri string) ([]byte, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "file" {
		return os.ReadFile(u.Path)
	}
	ctx, cancel := context.WithTimeout(ctx, listingsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxListingBytes))
}
