package kernel

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
)

func specServer(t *testing.T, base string) (data string, get func(method, path string, header ...string) *http.Response) {
	t.Helper()
	data = t.TempDir()
	r := mux.NewRouter().SkipClean(true)
	(&SpecAPI{Specs: NewSpecs(SpecsConfig{DataDirs: []string{data}, NoNativeKernel: true, DefaultName: "sample"}), BaseURL: base}).Register(r)
	return data, func(method, path string, header ...string) *http.Response {
		req := httptest.NewRequest(method, path, nil)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		return w.Result()
	}
}

func bodyOf(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(b)
}

func TestKernelspecsOverHTTP(t *testing.T) {
	data, get := specServer(t, "/a%40b/")
	dir := installSpec(t, data, "Sample", `{"argv": ["x", "{connection_file}"], "display_name": "Test <kernel>", "metadata": {"n": 1.0}}`)
	for _, f := range []string{"kernel.js", "logo-64x64.png", "logo-a b.svg"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte(f), 0o644))
	}
	installSpec(t, data, "my kernel", `{}`)

	const sample = `{"name": "sample", "spec": {"argv": ["x", "{connection_file}"], "env": {}, "display_name": "Test <kernel>", "language": "",
		"interrupt_mode": "signal", "metadata": {"n": 1.0}, "kernel_protocol_version": ""}, "resources": {
		"kernel.js": "/a%40b/kernelspecs/sample/kernel.js", "logo-64x64": "/a%40b/kernelspecs/sample/logo-64x64.png",
		"logo-a b": "/a%40b/kernelspecs/sample/logo-a%20b.svg"}}`
	r := get("GET", "/api/kernelspecs/sAmple")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	body := bodyOf(t, r)
	require.JSONEq(t, sample, body)
	require.Contains(t, body, `"n":1.0`, "numbers keep their form")

	r = get("GET", "/api/kernelspecs")
	var list struct {
		Default     string
		Kernelspecs map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, r)), &list))
	require.Equal(t, "sample", list.Default)
	require.Len(t, list.Kernelspecs, 2)
	require.JSONEq(t, sample, string(list.Kernelspecs["sample"]))

	require.Equal(t, http.StatusOK, get("GET", "/api/kernelspecs/my%20kernel").StatusCode)
	r = get("GET", "/api/kernelspecs/nonexistent")
	require.Equal(t, http.StatusNotFound, r.StatusCode)
	require.JSONEq(t, `{"message": "there is no kernelspec \"nonexistent\"", "reason": null}`, bodyOf(t, r))
}

func TestKernelspecFiles_S7(t *testing.T) {
	data, get := specServer(t, "/")
	dir := installSpec(t, data, "sample", `{}`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "resource.txt"), []byte("hello"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kernel.js"), []byte("x"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "logo-64x64.PNG"), []byte("x"), 0o644))

	r := get("GET", "/kernelspecs/sAmple/resource.txt")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Equal(t, "hello", bodyOf(t, r))
	require.Equal(t, "text/plain; charset=utf-8", r.Header.Get("Content-Type"))
	require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
	require.Contains(t, r.Header.Get("Content-Security-Policy"), "sandbox")
	require.NotContains(t, r.Header.Get("Content-Security-Policy"), "allow-same-origin")
	etag := r.Header.Get("ETag")
	require.Equal(t, http.StatusNotModified, get("GET", "/kernelspecs/sample/resource.txt", "If-None-Match", etag).StatusCode)
	require.Equal(t, "ell", bodyOf(t, get("GET", "/kernelspecs/sample/resource.txt", "Range", "bytes=1-3")))
	r = get("HEAD", "/kernelspecs/sample/resource.txt")
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.EqualValues(t, 5, r.ContentLength)
	require.Contains(t, get("GET", "/kernelspecs/sample/logo-64x64.PNG").Header.Get("Cache-Control"), "max-age")
}

func TestKernelspecFilesStayInside_S8(t *testing.T) {
	data, get := specServer(t, "/")
	dir := installSpec(t, data, "sample", `{}`)
	require.NoError(t, os.WriteFile(filepath.Join(data, "secret.txt"), []byte("secret"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(data, "kernels", "sample2"), []byte("secret"), 0o644))
	require.NoError(t, os.Symlink(filepath.Join(data, "secret.txt"), filepath.Join(dir, "out.txt")))
	require.NoError(t, os.Symlink(data, filepath.Join(dir, "up")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	for _, p := range []string{
		"../../secret.txt", "%2e%2e/%2e%2e/secret.txt", "..%2f..%2fsecret.txt", "..%2fsample2", "/etc/passwd", "%2fetc%2fpasswd",
		"out.txt", "up/secret.txt", "fifo", "sub", "sub/", "", ".", "x%00y", "missing.txt", `..%5c..%5csecret.txt`,
	} {
		r := get("GET", "/kernelspecs/sample/"+p)
		require.Equal(t, http.StatusNotFound, r.StatusCode, p)
		require.NotContains(t, bodyOf(t, r), data, p)
	}
	require.Equal(t, http.StatusNotFound, get("GET", "/kernelspecs/nonexistent/resource.txt").StatusCode)
}
