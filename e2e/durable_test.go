package e2e

import (
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// kills is how often a test kills the server.
const kills = 20

// restart kills the server, with no time to finish anything, and starts it on the same folders.
func (s *synth) restart() {
	s.t.Helper()
	s.stop(syscall.SIGKILL)
	s.killKernels()
	s.run()
}

func text(content string) map[string]any {
	return map[string]any{"type": "file", "format": "text", "content": content}
}

func chunk(n int, content string) map[string]any {
	m := text(base64.StdEncoding.EncodeToString([]byte(content)))
	m["format"], m["chunk"] = "base64", n
	return m
}

// What was answered with 2xx is there after a kill right behind the answer: sessions made, renamed and deleted,
// files saved, renamed and deleted, checkpoints, chunks of an upload. Each kill follows another of them.
func TestAcknowledgedIsDurable_P2_P8(t *testing.T) {
	s := startSynth(t, "--delete-to-trash=false")
	want := map[string]string{}    // session id -> path
	var deleted []string           // sessions
	files := map[string]string{}   // name -> content
	uploads := map[string]string{} // name -> what is held
	var last struct{ session, path string }
	do := func(method, path string, body any, status int, v any) {
		t.Helper()
		require.Equal(t, status, s.call(method, path, body, v).StatusCode, "%s %s", method, path)
	}
	acts := []func(i int){
		func(i int) {
			last.path = fmt.Sprintf("s%d.ipynb", i)
			last.session = s.create(last.path, "synth").ID
			want[last.session] = last.path
		},
		func(i int) {
			want[last.session] = fmt.Sprintf("renamed%d.ipynb", i)
			do("PATCH", "api/sessions/"+last.session, map[string]any{"path": want[last.session]}, 200, nil)
		},
		func(i int) {
			name := fmt.Sprintf("f%d.txt", i)
			files[name] = strings.Repeat(name, 1000)
			do("PUT", "api/contents/"+name, text(files[name]), 201, nil)
		},
		func(i int) {
			name := fmt.Sprintf("u%d.bin", i)
			do("PUT", "api/contents/"+name, chunk(1, "first,"), 201, nil)
			do("PUT", "api/contents/"+name, chunk(2, "second,"), 201, nil)
			uploads[name] = "first,second,"
		},
		func(i int) {
			name := slices.Sorted(maps.Keys(files))[0]
			to := fmt.Sprintf("moved%d.txt", i)
			do("PATCH", "api/contents/"+name, map[string]any{"path": to}, 200, nil)
			files[to] = files[name]
			delete(files, name)
		},
		func(i int) {
			name := slices.Sorted(maps.Keys(files))[0]
			do("POST", "api/contents/"+name+"/checkpoints", nil, 201, nil)
			do("PUT", "api/contents/"+name, text("overwritten"), 200, nil)
			s.restart()
			do("POST", "api/contents/"+name+"/checkpoints/checkpoint", nil, 204, nil)
		},
		func(int) {
			delete(want, last.session)
			deleted = append(deleted, last.session)
			status := s.call("DELETE", "api/sessions/"+last.session, nil, nil).StatusCode
			require.Contains(t, []int{204, 410}, status)
		},
	}
	for i := range kills {
		acts[i%len(acts)](i)
		s.restart()
		for id, path := range want {
			var got session
			do("GET", "api/sessions/"+id, nil, 200, &got)
			require.Equal(t, path, got.Path, "after kill %d", i)
		}
		for _, id := range deleted {
			do("GET", "api/sessions/"+id, nil, 404, nil)
		}
		for name, content := range files {
			onDisk, err := os.ReadFile(filepath.Join(s.root, name))
			require.NoError(t, err, "after kill %d", i)
			require.Equal(t, content, string(onDisk), "%s after kill %d", name, i)
		}
	}
	// The session of a killed server is found by its path, and gets a kernel that works.
	for id, path := range want {
		again := s.create(path, "synth")
		require.Equal(t, id, again.ID)
		require.Equal(t, "works\n", s.dial(t, again.Kernel.ID).execute("print works").text)
	}
	for name, held := range uploads {
		do("PUT", "api/contents/"+name, chunk(-1, "last"), 201, nil)
		onDisk, err := os.ReadFile(filepath.Join(s.root, name))
		require.NoError(t, err)
		require.Equal(t, held+"last", string(onDisk))
	}
}

// wholeness checks that content is one of versions: bytes of one letter and of the one length.
func wholeness(content []byte) error {
	if len(content) != versionBytes {
		return fmt.Errorf("%d bytes", len(content))
	}
	if n := strings.Count(string(content), string(content[:1])); n != versionBytes {
		return fmt.Errorf("%d of %d bytes are %q", n, versionBytes, content[0])
	}
	return nil
}

const versionBytes = 512 << 10

func version(i int) string { return strings.Repeat(string(rune('a'+i%26)), versionBytes) }

// While a file is saved again and again its readers see one version or another, never a mixture, and neither does
// who looks after a kill in the middle of a save.
func TestSavesAreAllOrNothing_P7(t *testing.T) {
	s := startSynth(t)
	require.Equal(t, 201, s.call("PUT", "api/contents/x.txt", text(version(0)), nil).StatusCode)
	onDisk := filepath.Join(s.root, "x.txt")
	reads := 0
	for i := range kills {
		var wg sync.WaitGroup
		saved := make(chan struct{}, 1)
		stop := make(chan struct{})
		wg.Go(func() { // the saver, until it is cut off
			for k := i; ; k++ {
				body := fmt.Sprintf(`{"type":"file","format":"text","content":%q}`, version(k))
				if _, err := s.ask("PUT", "api/contents/x.txt", []byte(body), s.bearer()); err != nil {
					return
				}
				select {
				case saved <- struct{}{}:
				default:
				}
			}
		})
		wg.Go(func() { // the reader
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := s.ask("GET", "files/x.txt", nil, s.bearer())
				if err != nil {
					return // the server is gone
				}
				reads++
				if err := wholeness(a.body); err != nil {
					t.Errorf("a reader saw half a save: %v", err)
				}
			}
		})
		for range i % 4 { // let some saves pass, then kill within the next
			<-saved
		}
		s.stop(syscall.SIGKILL)
		close(stop)
		wg.Wait()
		content, err := os.ReadFile(onDisk)
		require.NoError(t, err)
		require.NoError(t, wholeness(content), "after kill %d", i)
		s.run()
	}
	require.Positive(t, reads)
	var folder struct {
		Content []struct{ Name string }
	}
	s.call("GET", "api/contents/", nil, &folder)
	require.Len(t, folder.Content, 1, "nothing but the file is to be seen")
}

// An upload in Jupyter's chunks: the name appears with the last one, a repeat changes nothing, also when the server
// was killed in between, and a chunk too far is told what is missing.
func TestChunkedUpload_P8(t *testing.T) {
	s := startSynth(t)
	put := func(n int, content string) (status int, message string) {
		var model struct{ Message string }
		return s.call("PUT", "api/contents/big.bin", chunk(n, content), &model).StatusCode, model.Message
	}
	parts := []string{version(1), version(2), version(3), "the rest"}
	for i, p := range parts[:3] {
		for range 2 { // once more: its answer was lost, say
			status, _ := put(i+1, p)
			require.Equal(t, 201, status)
			s.restart()
		}
		require.NoFileExists(t, filepath.Join(s.root, "big.bin"))
		require.Equal(t, 404, s.call("GET", "api/contents/big.bin", nil, nil).StatusCode)
		require.Equal(t, 404, s.call("GET", "files/big.bin", nil, nil).StatusCode)
	}
	status, message := put(7, "too far")
	require.Equal(t, 409, status)
	require.Contains(t, message, "chunk 4")
	for range 2 {
		status, message := put(-1, parts[3])
		require.Contains(t, []int{200, 201}, status, message)
		onDisk, err := os.ReadFile(filepath.Join(s.root, "big.bin"))
		require.NoError(t, err)
		require.Equal(t, strings.Join(parts, ""), string(onDisk))
		s.restart()
	}
}
