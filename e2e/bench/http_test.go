package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// One connection takes answers of known length, in chunks, without a body and with an error, one after the other.
func TestHTTPConn(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /known", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"))
	})
	mux.HandleFunc("GET /chunks", func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			fmt.Fprint(w, strings.Repeat("x", 50_000))
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("PUT /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("DELETE /nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	ts := httptest.NewServer(mux)
	defer ts.Close()
	h, err := (&server{addr: ts.Listener.Addr().String()}).dialHTTP()
	require.NoError(t, err)
	defer h.close()
	for range 2 {
		body, err := h.do("GET", "/known", nil)
		require.NoError(t, err)
		require.Equal(t, "token "+token, string(body))

		body, err = h.do("GET", "/chunks", nil)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("x", 150_000), string(body))

		body, err = h.do("PUT", "/echo", []byte("hello"))
		require.NoError(t, err)
		require.Equal(t, "hello", string(body))

		body, err = h.do("DELETE", "/nothing", nil)
		require.NoError(t, err)
		require.Empty(t, body)

		_, err = h.do("GET", "/missing", nil)
		require.ErrorContains(t, err, "404")
	}
}
