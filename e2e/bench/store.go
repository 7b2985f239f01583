package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

const (
	storeBytes  = 1 << 30
	storeChunk  = 8 << 20
	storeRounds = 3 // 1 GB four times each: the disk, not the number of rounds, makes the values
)

// measureStore takes how fast 1 GB comes to the ImageStore in chunks, one and eight at a time, until its commit has
// made it durable; beside a handler that does nothing but write the same requests to a file and sync it, and beside
// cp to the same disk and a sync.
func (b *bench) measureStore(ctx context.Context) error {
	s, err := b.startServer(nbserv)
	if err != nil {
		return err
	}
	chunk := make([]byte, storeChunk)
	_, _ = rand.Read(chunk) // never fails
	if err := s.settle(ctx); err != nil {
		return err
	}
	idle, _, err := memory(s.pid())
	if err != nil {
		return err
	}
	bareAddr, stop, err := b.serveBare()
	if err != nil {
		return err
	}
	defer stop()
	for range min(b.rounds, storeRounds) {
		for _, parallel := range []int{1, 8} {
			id := fmt.Sprintf("store-%d", parallel)
			if err := b.copyStore(id, s.root, chunk); err != nil {
				return err
			}
			if err := b.rate(id, bare, func() error { return putStore(bareAddr, parallel, chunk) }); err != nil {
				return err
			}
			if err := resetPeak(s.pid()); err != nil {
				return err
			}
			if err := b.rate(id, nbserv, func() error { return putStore(s.addr, parallel, chunk) }); err != nil {
				return err
			}
			_, peak, err := memory(s.pid())
			if err != nil {
				return err
			}
			b.add(id+"-memory", nbserv, (peak-idle)/(1<<20))
		}
	}
	return os.Remove(filepath.Join(s.root, "store.bin"))
}

func (b *bench) rate(id string, c contestant, work func() error) error {
	began := time.Now()
	if err := work(); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	b.add(id, c, storeBytes/1e6/time.Since(began).Seconds())
	return nil
}

// copyStore measures cp from the page cache.
func (b *bench) copyStore(id, root string, chunk []byte) error {
	from, to := filepath.Join(b.dir, "source.bin"), filepath.Join(root, "copied.bin")
	if info, err := os.Stat(from); err != nil || info.Size() != storeBytes {
		f, err := os.Create(from)
		if err != nil {
			return err
		}
		for range storeBytes / storeChunk {
			if _, err := f.Write(chunk); err != nil {
				return err
			}
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	defer os.Remove(to)
	return b.rate(id, copied, func() error {
		// Not a clone, which copies nothing.
		if out, err := exec.Command("cp", "--reflink=never", from, to).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return exec.Command("sync", to).Run()
	})
}

// putStore sends the chunks, so many at a time on as many connections, and commits.
func putStore(addr string, parallel int, chunk []byte) error {
	session := uuid.NewString()
	var next atomic.Int64
	var group errgroup.Group
	for range parallel {
		group.Go(func() error {
			c, err := dialStore(addr)
			if err != nil {
				return err
			}
			defer c.close()
			for at := next.Add(storeChunk) - storeChunk; at < storeBytes; at = next.Add(storeChunk) - storeChunk {
				span := fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", at, at+storeChunk-1, storeBytes)
				if err := c.ask("PUT", "/store.bin/$/UploadChunk", session, span, chunk); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c, err := dialStore(addr)
	if err != nil {
		return err
	}
	defer c.close()
	return c.ask("POST", "/$/CommitUploadSession", session, "", nil)
}

// storeConn is a kept connection to a store.
type storeConn struct{ *httpConn }

func dialStore(addr string) (storeConn, error) {
	h, err := (&server{addr: addr}).dialHTTP()
	return storeConn{h}, err
}

func (c storeConn) ask(method, path, session, header string, body []byte) error {
	if err := c.SetDeadline(time.Now().Add(httpTimeout)); err != nil {
		return err
	}
	head := fmt.Sprintf("%s /ImageStore%s?api-version=6.0&timeout=300&session-id=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: token %s\r\n%sContent-Length: %d\r\n\r\n",
		method, path, session, c.addr, token, header, len(body))
	pieces := net.Buffers{[]byte(head), body}
	if _, err := pieces.WriteTo(c.Conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, text)
	}
	return err
}

// serveBare starts, in a process of its own, the handler that nbserv is compared with.
func (b *bench) serveBare() (addr string, stop func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(exe, "-bare", filepath.Join(b.dir, "bare.bin"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		stop()
		return "", nil, err
	}
	return strings.TrimSpace(string(line[:n])), stop, nil
}

// runBare is that process: chunks go to where they belong in a file, a commit syncs it, and nothing else is done.
func runBare(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := storeBare(f, r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
}

func storeBare(f *os.File, r *http.Request) error {
	if r.Method == http.MethodPost {
		if err := f.Sync(); err != nil {
			return err
		}
		return f.Truncate(0) // the next upload begins with an empty file, as nbserv's does
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes "), "-")
	at, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.NewOffsetWriter(f, at)}, r.Body, make([]byte, 256<<10))
	return err
}
