package kernel

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// installSpec writes a kernelspec below a data folder and gives its own folder.
func installSpec(t testing.TB, data, name, kernelJSON string) string {
	t.Helper()
	dir := filepath.Join(data, "kernels", name)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kernel.json"), []byte(kernelJSON), 0o644))
	return dir
}

func names(s *Specs) []string { return slices.Sorted(maps.Keys(s.All())) }

func TestSpecsAreFound(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	dir := installSpec(t, first, "MyKernel", `{"argv": ["one"], "display_name": "first"}`)
	installSpec(t, second, "mykernel", `{"argv": ["two"], "display_name": "second"}`)
	installSpec(t, second, "other", `{"argv": ["three"]}`)
	require.NoError(t, os.WriteFile(filepath.Join(second, "kernels", "file"), nil, 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(second, "kernels", "empty"), 0o755))
	require.NoError(t, os.Symlink(dir, filepath.Join(second, "kernels", "linked")))
	for _, f := range []string{"kernel.js", "kernel.css", "logo-64x64.png", "logo-svg.svg", "unrelated.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f), nil, 0o644))
	}
	s := NewSpecs(SpecsConfig{DataDirs: []string{first, filepath.Join(first, "missing"), second}, NoNativeKernel: true})

	require.Equal(t, []string{"linked", "mykernel", "other"}, names(s))
	got, err := s.Find("MYKERNEL")
	require.NoError(t, err)
	require.Equal(t, "mykernel", got.Name)
	require.Equal(t, "first", got.DisplayName, "the first folder wins")
	require.Equal(t, dir, got.Dir)
	require.Equal(t, []string{"kernel.css", "kernel.js", "logo-64x64.png", "logo-svg.svg"}, got.Resources)
	require.Equal(t, "python3", s.Default())

	_, err = s.Find("nonexistent")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, err = s.Find("../other")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestSpecsToStart(t *testing.T) {
	data := t.TempDir()
	installSpec(t, data, "python3", `{"display_name": "three"}`)
	installSpec(t, data, "ir", `{"display_name": "R"}`)
	installSpec(t, data, "bad", `garbage`)
	s := NewSpecs(SpecsConfig{DataDirs: []string{data}, DefaultName: "ir", NoNativeKernel: true, Log: slog.New(slog.DiscardHandler)})
	for name, want := range map[string]string{"": "R", "python": "three", "Python3": "three", "IR": "R"} {
		spec, err := s.ToStart(name)
		require.NoError(t, err)
		require.Equal(t, want, spec.DisplayName)
	}
	for _, name := range []string{"bad", "unknown"} {
		_, err := s.ToStart(name)
		require.Equal(t, fault.Unstartable, fault.KindOf(err))
		require.ErrorContains(t, err, name)
	}
}

func TestChangedSpecsAreSeenAtOnce(t *testing.T) {
	data := t.TempDir()
	s := NewSpecs(SpecsConfig{DataDirs: []string{data}, NoNativeKernel: true})
	require.Empty(t, names(s))

	dir := installSpec(t, data, "a", `{"display_name": "1"}`)
	require.Equal(t, []string{"a"}, names(s))
	for i := range 100 { // same size, often within one tick of the file system's clock
		want := fmt.Sprint(i % 10)
		installSpec(t, data, "a", `{"display_name": "`+want+`"}`)
		require.Equal(t, want, s.All()["a"].DisplayName)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "logo-x.png"), nil, 0o644))
	require.Equal(t, []string{"logo-x.png"}, s.All()["a"].Resources)
	require.NoError(t, os.Mkdir(filepath.Join(data, "kernels", "b"), 0o755))
	require.Equal(t, []string{"a"}, names(s))
	installSpec(t, data, "b", `{}`)
	require.Equal(t, []string{"a", "b"}, names(s))
	require.NoError(t, os.RemoveAll(dir))
	require.Equal(t, []string{"b"}, names(s))
}

// settle makes everything below dir old enough for its time stamps to be trusted.
func settle(t testing.TB, dir string) {
	t.Helper()
	var states []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		states = append(states, path)
		return err
	}))
	deadline := time.NewTimer(2 * settleTime)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if !slices.ContainsFunc(states, func(p string) bool { st := stampOf(p); return !st.settled }) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("the files do not settle")
		}
	}
}

func TestUnchangedSpecsAreNotReadAgain(t *testing.T) {
	data := t.TempDir()
	installSpec(t, data, "a", `{"display_name": "1"}`)
	s := NewSpecs(SpecsConfig{DataDirs: []string{data}, NoNativeKernel: true})
	settle(t, data)
	first := s.current()
	require.Same(t, first, s.current())

	// Another file of the same size in its place, as old as the first.
	file := filepath.Join(data, "kernels", "a", "kernel.json")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(`{"display_name": "2"}`), 0o644))
	require.NoError(t, os.Chtimes(file, time.Time{}, info.ModTime()))
	require.Equal(t, "2", s.All()["a"].DisplayName)
}

func TestBrokenSpecIsLoggedOnce(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	installSpec(t, first, "bad", `garbage`)
	installSpec(t, second, "bad", `{}`)
	installSpec(t, second, "good", `{}`)
	require.NoError(t, os.MkdirAll(filepath.Join(first, "kernels", "dir", "kernel.json"), 0o755))
	installSpec(t, first, "huge", `{"display_name": "`+strings.Repeat("x", maxSpecBytes)+`"}`)
	var log bytes.Buffer
	s := NewSpecs(SpecsConfig{DataDirs: []string{first, second}, NoNativeKernel: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		require.Equal(t, []string{"good"}, names(s), "as in jupyter_client a broken kernelspec hides those after it")
	}
	require.Equal(t, 2, strings.Count(log.String(), "level=WARN"), log.String())
	_, err := s.Find("bad")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.NotContains(t, fault.Message(err), first, "S12: no server path")

	installSpec(t, first, "bad", `{"argv": 1}`)
	require.Equal(t, []string{"good"}, names(s))
	require.Equal(t, 3, strings.Count(log.String(), "level=WARN"), "another fault is news")
	installSpec(t, first, "bad", `{}`)
	require.Equal(t, []string{"bad", "good"}, names(s))
}

func TestUnusualSpecNames(t *testing.T) {
	data := t.TempDir()
	installSpec(t, data, "My Kernel", `{}`)
	installSpec(t, data, "bad\xff", `{}`)
	s := NewSpecs(SpecsConfig{DataDirs: []string{data}, NoNativeKernel: true, Log: slog.New(slog.DiscardHandler)})
	require.Equal(t, []string{"my kernel"}, names(s), "jupyter_client warns and uses it")
}

func TestAllowedSpecs(t *testing.T) {
	data := t.TempDir()
	for _, n := range []string{"a", "b", "c"} {
		installSpec(t, data, n, `{}`)
	}
	s := NewSpecs(SpecsConfig{DataDirs: []string{data}, Allowed: []string{"A", "c", "z"}})
	require.Equal(t, []string{"a", "c"}, names(s))
	_, err := s.ToStart("b")
	require.Equal(t, fault.Unstartable, fault.KindOf(err))
}

func BenchmarkSpecsAll(b *testing.B) {
	data := b.TempDir()
	for i := range 10 {
		dir := installSpec(b, data, fmt.Sprint("k", i), `{"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "x"}`)
		require.NoError(b, os.WriteFile(filepath.Join(dir, "logo-64x64.png"), nil, 0o644))
	}
	s := NewSpecs(SpecsConfig{Environ: append(os.Environ(), "JUPYTER_PATH="+data)})
	settle(b, data)
	require.GreaterOrEqual(b, len(s.All()), 10)
	b.ReportAllocs()
	for b.Loop() {
		s.All()
	}
}

// While no file can be opened nothing is taken for missing or broken, and nothing is forgotten.
func TestSpecsWhileDescriptorsRunOut_S10(t *testing.T) {
	data := t.TempDir()
	installSpec(t, data, "a", `{"display_name": "1"}`)
	starved := func(f func()) {
		var old syscall.Rlimit
		require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: old.Max}))
		defer func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)) }()
		f()
	}
	var log bytes.Buffer
	s := NewSpecs(SpecsConfig{DataDirs: []string{data}, NoNativeKernel: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	starved(func() {
		_, err := s.ToStart("a")
		require.Equal(t, fault.Busy, fault.KindOf(err))
		require.Empty(t, names(s))
	})
	require.Equal(t, []string{"a"}, names(s))
	installSpec(t, data, "b", `{}`)
	starved(func() { require.Equal(t, []string{"a"}, names(s), "what is known") })
	require.Equal(t, []string{"a", "b"}, names(s))
	require.Empty(t, log.String())
}
