package kerneltest

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Start runs a kernel for the time of a test, with a connection file of its own in a short folder (paths of
// unix sockets end at 107 bytes).
func Start(t testing.TB, o Options) *Kernel {
	t.Helper()
	k, err := Serve(WriteConnectionFile(t, o), o)
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	t.Cleanup(k.Close)
	return k
}

// WriteConnectionFile writes a connection file with o's Transport and Key and ports of 0.
func WriteConnectionFile(t testing.TB, o Options) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "k")
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	fields := map[string]any{
		"transport": "ipc", "ip": filepath.Join(dir, "s"), "signature_scheme": "hmac-sha256", "key": o.Key,
		"kernel_name": "synth",
	}
	if o.Transport == "tcp" {
		fields["transport"], fields["ip"] = "tcp", "127.0.0.1"
	}
	if o.Key == "" && !o.Unsigned {
		fields["key"] = rand.Text()
	}
	for _, name := range socketNames {
		fields[name+"_port"] = 0
	}
	path = filepath.Join(dir, "connection.json")
	b, err := json.Marshal(fields)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	return path
}
