package nbconvert

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// python is one that has nbconvert.
func python(t *testing.T) string {
	t.Helper()
	p := os.Getenv("NBSERV_TEST_PYTHON")
	if p == "" {
		t.Skip("needs NBSERV_TEST_PYTHON with nbconvert: make test sets it up")
	}
	return p
}

func serve(t *testing.T, change func(*Config)) string {
	t.Helper()
	cfg := Config{
		Python:  func() []string { return []string{filepath.Join(t.TempDir(), "none"), os.Getenv("NBSERV_TEST_PYTHON")} },
		Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, ConfigDir: t.TempDir(),
		Timeout: 2 * time.Minute, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	r := mux.NewRouter().SkipClean(true)
	(&API{Converter: New(cfg), BaseURL: "/base/", Read: func(_ context.Context, path string) (Notebook, error) {
		switch path {
		case "dir/book.ipynb":
			return Notebook{Name: "book.ipynb", Folder: t.TempDir(), Modified: time.Unix(1e9, 0), Content: json.RawMessage(book)}, nil
		case "a b.txt":
			return Notebook{Name: "a b.txt"}, nil
		}
		return Notebook{}, fault.New(fault.NotFound, "there is no %s", path)
	}}).Register(r)
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return srv.URL
}

const book = `{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [
	{"cell_type": "markdown", "source": "# Hällo", "metadata": {}},
	{"cell_type": "code", "source": "print(6*7)", "execution_count": 1, "metadata": {}, "outputs": [
		{"output_type": "display_data", "metadata": {}, "data": {"text/html": "<script>alert(1)</script>"}},
		{"output_type": "display_data", "metadata": {}, "data": {"image/png": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="}}]}]}`

func ask(t *testing.T, method, url, body string, want int) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, want, res.StatusCode, "%s", raw)
	return res, string(raw)
}

func TestConversions(t *testing.T) {
	python(t)
	url := serve(t, nil)

	res, text := ask(t, "GET", url+"/nbconvert/html/dir/book.ipynb", "", 200)
	require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
	require.Contains(t, res.Header.Get("Content-Security-Policy"), "sandbox allow-scripts")
	require.NotContains(t, res.Header.Get("Content-Security-Policy"), "allow-same-origin")
	require.Contains(t, text, "Hällo")
	require.Contains(t, text, "<script>alert(1)")
	require.Empty(t, res.Header.Get("Content-Disposition"))

	_, text = ask(t, "GET", url+"/nbconvert/html/dir/book.ipynb?sanitize_html=true", "", 200)
	require.NotContains(t, text, "<script>alert(1)")

	res, text = ask(t, "GET", url+"/nbconvert/script/dir/book.ipynb?download=true", "", 200)
	require.Contains(t, res.Header.Get("Content-Disposition"), "attachment")
	require.Contains(t, res.Header.Get("Content-Disposition"), "book")
	require.Contains(t, text, "print(6*7)")

	res, text = ask(t, "POST", url+"/nbconvert/markdown", `{"name": "x/my.ipynb", "content": `+book+`}`, 200)
	require.Equal(t, "application/zip", res.Header.Get("Content-Type"))
	require.Contains(t, res.Header.Get("Content-Disposition"), "my.zip")
	z, err := zip.NewReader(bytes.NewReader([]byte(text)), int64(len(text)))
	require.NoError(t, err)
	require.Len(t, z.File, 2, "the text and the picture")

	_, text = ask(t, "GET", url+"/api/nbconvert", "", 200)
	require.Contains(t, text, `"html":{"output_mimetype":"text/html"}`)
}

func TestRequestsThatAreRefused_P13(t *testing.T) {
	python(t)
	url := serve(t, nil)
	ask(t, "GET", url+"/nbconvert/html/none.ipynb", "", 404)
	_, text := ask(t, "GET", url+"/nbconvert/nosuchformat/dir/book.ipynb", "", 404)
	require.Contains(t, text, "nosuchformat")
	for _, content := range []string{`[]`, `{}`, `null`, `"x"`, `{"cells": 3, "metadata": {}, "nbformat": 4}`, `{"cells": [], "nbformat": 4}`, `{"cells": [], "metadata": {}}`} {
		_, text := ask(t, "POST", url+"/nbconvert/html", `{"content": `+content+`}`, 400)
		require.Contains(t, text, "content", content)
	}
	ask(t, "POST", url+"/nbconvert/html", `{`, 400)
	_, text = ask(t, "POST", url+"/nbconvert/html", `{"content": {"cells": [3], "metadata": {}, "nbformat": 4}}`, 501)
	require.NotContains(t, text, "Traceback")
	res, _ := ask(t, "GET", url+"/nbconvert/html/a%20b.txt", "", 302)
	require.Equal(t, "/base/files/a%20b.txt", res.Header.Get("Location"))
}

// fake makes a program that stands for a Python.
func fake(t *testing.T, text string) func(*Config) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "python")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700))
	return func(c *Config) { c.Python = func() []string { return []string{file} } }
}

func TestChildrenThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		status int
		text   string
	}{
		"no python":   {func(c *Config) { c.Python = func() []string { return nil } }, 501, "pip install nbconvert"},
		"not there":   {func(c *Config) { c.Python = func() []string { return []string{"/none/python"} } }, 501, "pip install nbconvert"},
		"no module":   {fake(t, `echo '{"error": "nbconvert"}'`), 501, "pip install nbconvert"},
		"it crashes":  {fake(t, "echo secret >&2; kill -9 $$"), 501, "without an answer"},
		"it babbles":  {fake(t, "echo hello; echo secret >&2"), 501, "without an answer"},
		"it says why": {fake(t, `echo '{"error": "failed", "message": "xelatex not found"}'`), 501, "xelatex not found"},
		"it hangs": {func(cfg *Config) {
			fake(t, "sleep 1000 & wait")(cfg)
			cfg.Timeout = 50 * time.Millisecond
		}, 504, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, text := ask(t, "POST", serve(t, c.change)+"/nbconvert/html", `{"content": `+book+`}`, c.status)
			require.Contains(t, text, c.text)
			require.NotContains(t, text, "secret")
		})
	}
}

func TestClientThatGoesEndsItsConversion(t *testing.T) {
	dir := t.TempDir()
	url := serve(t, fake(t, "echo $$ >"+dir+"/new; mv "+dir+"/new "+dir+"/pid; exec sleep 1000"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		req, _ := http.NewRequestWithContext(ctx, "POST", url+"/nbconvert/html", strings.NewReader(`{"content": `+book+`}`))
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
		}
	}()
	var pid string
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "pid"))
		pid = strings.TrimSpace(string(raw))
		return err == nil
	}, 20*time.Second, time.Millisecond)
	cancel()
	<-gone
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join("/proc", pid))
		return err != nil
	}, 20*time.Second, time.Millisecond)
}
