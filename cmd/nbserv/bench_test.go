package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// What a request costs before and after its handler: middleware, auth, routing, metrics.
func BenchmarkRequest(b *testing.B) {
	s := testServer(b, io.Discard, func(c *Config) { c.LogLevel = "info" })
	for _, path := range []string{"/api/status", "/api/sessions", "/api/kernels"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("GET", "http://localhost"+path, nil)
				r.Header.Set("Authorization", "token secret-token")
				w := httptest.NewRecorder()
				s.http.Handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
