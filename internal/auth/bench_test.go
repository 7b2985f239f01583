package auth

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/httpx"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ h http.Header }

func (w *nowhere) Header() http.Header         { return w.h }
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w *nowhere) WriteHeader(int)             {}

// BenchmarkChain is what a request pays for identity, log, recovery and headers, its poll's line being off.
func BenchmarkChain(b *testing.B) {
	a, err := New(Config{BaseURL: "/", Token: token}, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	logger := slog.New(slog.NewJSONHandler(discard{}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	inner := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	chain := httpx.Chain(a.Wrap(inner), httpx.AccessLog(httpx.LogConfig{Logger: logger}), httpx.Recover, httpx.SecurityHeaders("/"))

	first := httptest.NewRecorder()
	login := httptest.NewRequest("GET", "http://localhost:8888/lab?token="+token, nil)
	chain.ServeHTTP(first, login)
	cookie := first.Result().Cookies()[0].Name + "=" + first.Result().Cookies()[0].Value

	for _, bm := range []struct {
		name, method string
		headers      map[string]string
	}{
		{"token", "GET", map[string]string{"Authorization": "token " + token}},
		{"token+cookie", "GET", map[string]string{"Authorization": "token " + token, "Cookie": cookie}},
		{"cookie", "GET", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}},
		{"token,line", "POST", map[string]string{"Authorization": "token " + token, "Cookie": cookie}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			r := httptest.NewRequest(bm.method, "http://localhost:8888/api/kernels?1700000000000", nil)
			for k, v := range bm.headers {
				r.Header.Set(k, v)
			}
			w := &nowhere{make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				chain.ServeHTTP(w, r)
			}
		})
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
