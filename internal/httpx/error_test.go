package httpx

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryKindHasAStatus(t *testing.T) {
	for _, k := range fault.Kinds() {
		require.GreaterOrEqual(t, Status(k), 400, k)
	}
}

func TestErrorsAsJupyterWritesThem(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	WriteError(w, r, fault.Wrap(fault.NotFound, errors.New("inner"), "kernel %s", "<x>"))
	require.Equal(t, 404, w.Code)
	require.Equal(t, `{"message":"kernel <x>","reason":null}`+"\n", w.Body.String())
	w = httptest.NewRecorder()
	WriteError(w, r, fault.New(fault.Busy, "full"))
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	w = httptest.NewRecorder()
	w.Header().Set("Retry-After", "9")
	WriteError(w, r, fault.New(fault.TooMany, "slow"))
	require.Equal(t, "9", w.Header().Get("Retry-After"))
}
