package lab

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLicenses(t *testing.T) {
	s := newSite(t, nil)
	bundles := s.json("/lab/api/licenses/")["bundles"].(map[string]any)
	require.Contains(t, bundles, "@org/git")
	top := bundles["@jupyterlab/application-top"].(map[string]any)["packages"].([]any)
	require.Equal(t, map[string]any{"name": "react", "versionInfo": "18.0.0", "licenseId": "MIT", "extractedText": `a "text"`}, top[0])
	require.Len(t, s.json("/lab/api/licenses?bundles=@jupyterlab/.*")["bundles"], 1)
	require.Empty(t, s.json("/lab/api/licenses?bundles=jupyterlab")["bundles"], "from the beginning on")

	w := s.get("/lab/api/licenses?format=csv&download=1&bundles=@jupyterlab/")
	require.Equal(t, "text/csv", w.Header().Get("Content-Type"))
	require.Equal(t, `attachment; filename="jupyterlab-licenses.csv"`, w.Header().Get("Content-Disposition"))
	rows, err := csv.NewReader(w.Body).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"@jupyterlab/application-top", "react", "18.0.0", "MIT", `a "text"`}, rows[1])
	w = s.get("/lab/api/licenses?format=markdown")
	require.Equal(t, "text/markdown", w.Header().Get("Content-Type"))
	for _, part := range []string{"# @jupyterlab/application-top", "**react**", "**bare**\t`UNKNOWN`\tUNKNOWN", `a "text"`, "> No license text available", "> No licenses found"} {
		require.Contains(t, w.Body.String(), part)
	}
	require.NotContains(t, s.get("/lab/api/licenses?format=markdown&full_text=false").Body.String(), `a "text"`)
	for _, bad := range []string{"format=pdf", "bundles=(", "bundles=" + strings.Repeat("a", 2000)} {
		require.Equal(t, http.StatusBadRequest, s.get("/lab/api/licenses?"+bad).Code, bad)
	}
	write(t, filepath.Join(s.prefix, "share/jupyter/lab/static/third-party-licenses.json"), "{")
	require.Empty(t, s.json("/lab/api/licenses?bundles=@jupyterlab")["bundles"].(map[string]any)["@jupyterlab/application-top"].(map[string]any)["packages"])
	require.Contains(t, s.log.String(), "a file of licenses cannot be used")
}

func TestExtensionList(t *testing.T) {
	s := newSite(t, nil)
	list := func(query string) (all []map[string]any) {
		w := s.get("/lab/api/extensions" + query)
		require.Equal(t, http.StatusOK, w.Code)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &all))
		return all
	}
	all := list("?page=1&per_page=30&refresh=1")
	require.Len(t, all, 2)
	require.Equal(t, map[string]any{
		"name": "@org/git", "description": "Git", "homepage_url": "https://example.org/git", "pkg_type": "prebuilt", "allowed": true, "approved": false, "companion": "server",
		"core": false, "enabled": true, "install": map[string]any{"packageManager": "python"}, "installed": true, "installed_version": "0.1.0-rc.1", "latest_version": "0.1.0-rc.1",
		"status": "ok", "author": "Org", "license": "BSD-3-Clause", "bug_tracker_url": "https://example.org/bugs", "documentation_url": nil, "package_manager_url": nil,
		"repository_url": "https://example.org/git",
	}, all[0])
	require.Empty(t, list("?query=git"), "what could be installed is not known")
	write(t, filepath.Join(s.config, "labconfig/page_config.json"), `{"disabledExtensions": {"@org/git": true}}`)
	require.Equal(t, false, list("")[0]["enabled"])
	require.Equal(t, true, s.json("/lab/api/plugins")["allLocked"])
	for version, want := range map[string]string{"1.2.3": "1.2.3", "1.0.0a2": "1.0.0-alpha.2", "1.0b0.dev1": "1.0-beta.0", "2.0.post1": "2.0"} {
		require.Equal(t, want, npmVersion(version))
	}
}

func TestListings(t *testing.T) {
	const path = "/lab/api/listings/" + listingsPath
	s := newSite(t, nil)
	require.Equal(t, map[string]any{"blocked_extensions_uris": []any{}, "allowed_extensions_uris": []any{}, "blocked_extensions": []any{}, "allowed_extensions": []any{}}, s.json(path))
	require.Equal(t, http.StatusBadRequest, s.get("/lab/api/listings/other").Code)

	asked, fails := 0, false
	lists := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; fails {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(`{"blocked_extensions": [{"name": "bad"}]}`))
	}))
	defer lists.Close()
	file := filepath.Join(t.TempDir(), "more.json")
	write(t, file, `{"blocked_extensions": [{"name": "worse", "why": 1.0}]}`)
	s = newSite(t, func(s *site) { s.server.Config.BlockedURIs = []string{lists.URL, "file://" + file} })
	for range 3 {
		require.Equal(t, []any{map[string]any{"name": "bad"}, map[string]any{"name": "worse", "why": 1.0}}, s.json(path)["blocked_extensions"])
	}
	require.Equal(t, 1, asked, "a list is kept for a while")
	s.lab.listings.fetched = s.lab.listings.fetched.Add(-2 * listingsLife)
	fails = true
	require.Len(t, s.json(path)["blocked_extensions"], 2, "what was known holds")
	require.Equal(t, 2, asked)
	require.Contains(t, s.log.String(), "a list of extensions cannot be fetched")
	http.DefaultClient.CloseIdleConnections()
}

// A page that is closed while a list is fetched for it leaves no page without the list.
func TestListingsOfAPageThatGoes(t *testing.T) {
	lists := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"blocked_extensions": [{"name": "bad"}]}`))
	}))
	defer lists.Close()
	defer http.DefaultClient.CloseIdleConnections()
	l := newListings(Config{BlockedURIs: []string{lists.URL}}, slog.New(slog.DiscardHandler))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Empty(t, l.get(gone).Blocked)
	require.Len(t, l.get(t.Context()).Blocked, 1)
}

// What the page asks about the world outside has answers that ask nobody.
func TestFixedAnswers(t *testing.T) {
	s := newSite(t, nil)
	require.Equal(t, "stable", s.json("/lab/api/build")["status"])
	require.Nil(t, s.json("/lab/api/update")["notification"])
	require.Empty(t, s.json("/lab/api/news")["news"])
}

// What a package says of itself beside the point does not keep its extension from the page: npm's packages have been
// saying it in several ways. What is no package.json at all costs itself only.
func TestOddPackages(t *testing.T) {
	s := newSite(t, nil)
	for name, text := range map[string]string{
		"old":    `{"name": "old", "version": "1.0.0", "license": {"type": "MIT"}, "homepage": ["x"], "description": 5, "author": ["A"], "repository": "git:x", "bugs": 7, "jupyterlab": {"_build": {"load": "static/old.js"}, "discovery": false}}`,
		"bare":   `{"name": "bare", "jupyterlab": {"_build": {"load": "static/bare.js"}}}`,
		"noload": `{"name": "noload", "version": "1.0.0", "jupyterlab": {"_build": {}}}`,
		"number": `{"name": 5}`, "list": `[]`, "text": `"x"`, "empty": ``, "null": `null`,
	} {
		write(t, filepath.Join(s.prefix, "share/jupyter/labextensions", name, "package.json"), text)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(s.prefix, "share/jupyter/labextensions/folder/package.json"), 0o755))
	loads := map[any]any{}
	for _, e := range s.pageConfig("/lab")["federated_extensions"].([]any) {
		loads[e.(map[string]any)["name"]] = e.(map[string]any)["load"]
	}
	require.Equal(t, map[any]any{"@org/git": "static/remoteEntry.0123456789abcdef.js", "old": "static/old.js", "bare": "static/bare.js"}, loads)
	var list []map[string]any
	require.NoError(t, json.Unmarshal(s.get("/lab/api/extensions").Body.Bytes(), &list))
	for _, e := range list {
		if e["name"] == "old" {
			require.Equal(t, "MIT", e["license"])
			require.Equal(t, "1.0.0", e["installed_version"])
		}
	}
}
