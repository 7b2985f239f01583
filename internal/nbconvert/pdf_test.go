package nbconvert

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pdfText reads the text of a PDF with pypdf.
func pdfText(t *testing.T, pdf string) string {
	t.Helper()
	require.Equal(t, "%PDF-", pdf[:min(5, len(pdf))])
	file := filepath.Join(t.TempDir(), "book.pdf")
	require.NoError(t, os.WriteFile(file, []byte(pdf), 0o600))
	const read = "import pypdf, sys; print(*(p.extract_text() for p in pypdf.PdfReader(sys.argv[1]).pages))"
	out, err := exec.Command(os.Getenv("NBSERV_TEST_PYTHON"), "-c", read, file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// PDFs are real ones, whoever makes them, and have the text of the notebook.
func TestPDF(t *testing.T) {
	python(t)
	check := func(t *testing.T, url, format string) {
		res, pdf := ask(t, "GET", url+"/nbconvert/"+format+"/dir/book.ipynb?download=true", "", 200)
		require.Equal(t, "application/pdf", res.Header.Get("Content-Type"))
		require.Equal(t, "attachment; filename=book.pdf", res.Header.Get("Content-Disposition"))
		text := pdfText(t, pdf)
		require.Contains(t, text, "Hällo")
		require.Contains(t, text, "print(6*7)")
	}
	t.Run("by a browser", func(t *testing.T) {
		chromium := os.Getenv("NBSERV_TEST_CHROMIUM")
		if chromium == "" {
			t.Skip("NBSERV_TEST_CHROMIUM is not set: make test prepares it where Chromium may be installed")
		}
		url := serve(t, func(c *Config) { c.Browser = chromium }) // "pdf" comes from JupyterLab's menu, in e2e
		check(t, url, "webpdf")
	})
	t.Run("by TeX", func(t *testing.T) {
		for _, program := range []string{"xelatex", "pandoc"} {
			if _, err := exec.LookPath(program); err != nil {
				t.Skip("needs xelatex and pandoc, which are 140 MB: with NBSERV_WITH_TEX=1, make test installs them on Debian")
			}
		}
		url := serve(t, nil)
		check(t, url, "pdf")
		broken := `{"content": {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [{"cell_type": "raw", "source": "\\nosuchcommand", "metadata": {}}]}}`
		_, text := ask(t, "POST", url+"/nbconvert/pdf", broken, 501)
		require.Contains(t, text, "! Undefined control sequence", "what TeX says, not its first words")
	})
}

// Whoever cannot have a PDF is told what to install or to say; nothing of an attempt is left.
func TestPDFThatCannotBeMade(t *testing.T) {
	python(t)
	t.Setenv("TMPDIR", t.TempDir())
	browser := func(text string) func(*Config) {
		file := filepath.Join(t.TempDir(), "browser")
		require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700))
		return func(c *Config) { c.Browser = file }
	}
	refused := func(change func(*Config), format string, status int, words ...string) {
		t.Helper()
		_, text := ask(t, "GET", serve(t, change)+"/nbconvert/"+format+"/dir/book.ipynb", "", status)
		for _, w := range words {
			require.Contains(t, text, w)
		}
	}
	bare := func(c *Config) { c.Environ = []string{"PATH=/none", "HOME=" + t.TempDir()} }
	refused(bare, "pdf", 501, "pandoc and xelatex", "chromium")
	refused(bare, "webpdf", 501, "chromium", "playwright install")
	refused(browser("echo 'No usable sandbox!' >&2; exit 1"), "pdf", 501, "browser made no PDF", "--nbconvert-browser-args=--no-sandbox")

	started := filepath.Join(t.TempDir(), "started")
	url := serve(t, browser("echo >"+started+"; sleep 1000"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		req, _ := http.NewRequestWithContext(ctx, "GET", url+"/nbconvert/pdf/dir/book.ipynb", nil)
		if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
			_ = res.Body.Close()
		}
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(started); return err == nil }, time.Minute, time.Millisecond)
	cancel()
	<-gone
	require.Eventually(t, func() bool {
		left, err := os.ReadDir(os.Getenv("TMPDIR"))
		return err == nil && len(left) == 0
	}, time.Minute, time.Millisecond)
}
