package ws

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the entry of the benchmarks' clients, which run in a process of their own.
func TestMain(m *testing.M) {
	if addr := os.Getenv(drainEnv); addr != "" {
		drainMain(addr)
		return
	}
	goleak.VerifyTestMain(m)
}
