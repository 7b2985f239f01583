package trust_test

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/contents/trust"
	"github.com/nbserv/nbserv/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, file string) *trust.Notary {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(t.Context(), file, log, trust.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return trust.New(db, log)
}

// site is a contents API over a folder.
type site struct {
	t    *testing.T
	url  string
	root string
}

func serve(t *testing.T, notary contents.Notary) *site {
	t.Helper()
	cfg := contents.DefaultConfig()
	cfg.RootDir, cfg.Notary = t.TempDir(), notary
	d, err := contents.New(cfg)
	require.NoError(t, err)
	r := mux.NewRouter().SkipClean(true)
	contents.NewAPI(d, d.Checkpoints(), d.Staging(), cfg).Register(r)
	srv := httptest.NewServer(r)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		srv.Close()
		require.NoError(t, d.Close())
	})
	return &site{t: t, url: srv.URL + "/api/contents/", root: cfg.RootDir}
}

func (s *site) do(method, path, body string, want int) []byte {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, want, res.StatusCode, "%s", answer)
	return answer
}

// marks are those of the code cells that a page gets.
func (s *site) marks(path string) []any {
	s.t.Helper()
	var m struct {
		Content struct {
			Cells []struct {
				Type     string         `json:"cell_type"`
				Metadata map[string]any `json:"metadata"`
			} `json:"cells"`
		} `json:"content"`
	}
	require.NoError(s.t, json.Unmarshal(s.do("GET", path, "", 200), &m))
	var all []any
	for _, c := range m.Content.Cells {
		if c.Type == "code" {
			all = append(all, c.Metadata["trusted"])
		} else {
			require.NotContains(s.t, c.Metadata, "trusted")
		}
	}
	return all
}

const (
	script = `{"output_type": "display_data", "metadata": {}, "data": {"text/html": "<script>1</script>"}}`
	text   = `{"output_type": "stream", "name": "stdout", "text": "hi"}`
)

func cell(output, metadata string) string {
	return `{"cell_type": "code", "source": "", "execution_count": 1, "outputs": [` + output + `], "metadata": ` + metadata + `}`
}

func notebook(cells ...string) string {
	return `{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [{"cell_type": "markdown", "source": "", "metadata": {}}, ` +
		strings.Join(cells, ",") + `]}`
}

func save(content string) string {
	return `{"type": "notebook", "format": "json", "content": ` + content + `}`
}

func TestWhatAPageVouchesForIsTrusted(t *testing.T) {
	s := serve(t, open(t, filepath.Join(t.TempDir(), "db")))
	for name, c := range map[string]struct {
		cells []string
		want  []any
	}{
		"marked":         {[]string{cell(script, `{"trusted": true}`)}, []any{true}},
		"only text":      {[]string{cell(text, `{}`), cell("", `{}`)}, []any{true, true}},
		"not marked":     {[]string{cell(script, `{}`)}, []any{false}},
		"marked as not":  {[]string{cell(script, `{"trusted": false}`)}, []any{false}},
		"one of two":     {[]string{cell(script, `{"trusted": true}`), cell(script, `{}`)}, []any{false, false}},
		"no mark at all": {[]string{cell(script, `{"trusted": "yes"}`)}, []any{false}},
	} {
		// The marks are no part of a notebook: two of these differ in their marks alone.
		content := strings.ReplaceAll(notebook(c.cells...), `"source": ""`, `"source": "`+name+`"`)
		s.do("PUT", "a.ipynb", save(content), map[bool]int{true: 201, false: 200}[missing(s, "a.ipynb")])
		require.Equal(t, c.want, s.marks("a.ipynb"), name)
		raw, err := os.ReadFile(filepath.Join(s.root, "a.ipynb"))
		require.NoError(t, err)
		require.NotContains(t, string(raw), "trusted", "marks are in no file")
	}
}

func missing(s *site, name string) bool {
	_, err := os.Stat(filepath.Join(s.root, name))
	return err != nil
}

func TestFileOfSomebodyElseIsTrustedOnRequestOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	notary := open(t, file)
	s := serve(t, notary)
	path := filepath.Join(s.root, "b.ipynb")
	require.NoError(t, os.WriteFile(path, []byte(notebook(cell(script, `{"trusted": true}`))), 0o600))
	require.Equal(t, []any{false}, s.marks("b.ipynb"), "a file cannot vouch for itself")
	require.Empty(t, s.do("POST", "b.ipynb/trust", "", 201))
	require.Equal(t, []any{true}, s.marks("b.ipynb"))

	t.Run("a copy is trusted, too", func(t *testing.T) {
		s.do("POST", "", `{"copy_from": "b.ipynb"}`, 201)
		require.Equal(t, []any{true}, s.marks("b-Copy1.ipynb"))
	})
	t.Run("after a restart", func(t *testing.T) {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, open(t, file).Trusted(t.Context(), sha256.Sum256(raw)))
	})
	t.Run("not once it was changed", func(t *testing.T) {
		require.NoError(t, os.WriteFile(path, []byte(notebook(cell(script, `{"more": 1}`))), 0o600))
		require.Equal(t, []any{false}, s.marks("b.ipynb"))
	})
	t.Run("what is no notebook", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(s.root, "c.txt"), []byte("x"), 0o600))
		s.do("POST", "c.txt/trust", "", 400)
		s.do("POST", "none.ipynb/trust", "", 404)
	})
}

func TestOldestAreForgotten_P9(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"), log, trust.Schema)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	sum := func(i int) [32]byte { return sha256.Sum256([]byte{byte(i)}) }
	n := trust.NewSmall(db, log, 3)
	for i := range 4 {
		require.NoError(t, n.Trust(t.Context(), sum(i)))
		trust.Age(t, db)
	}
	require.False(t, n.Trusted(t.Context(), sum(0)))
	for i := 1; i < 4; i++ {
		require.True(t, n.Trusted(t.Context(), sum(i)))
	}
}
