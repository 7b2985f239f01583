package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// fileBytes is the size of the file that is moved.
const fileBytes = 50_000_000

// measureFiles takes how fast a large binary file is uploaded and downloaded through /api/contents, as a page does
// it: base64 in JSON, in one request. The rate counts the file's own bytes.
func (b *bench) measureFiles(ctx context.Context) error {
	content := make([]byte, fileBytes)
	rand.NewChaCha8([32]byte{}).Read(content)
	text := base64.StdEncoding.EncodeToString(content)
	body := slices.Concat([]byte(`{"type":"file","format":"base64","content":"`), []byte(text), []byte(`"}`))
	ours, theirs, err := b.both()
	if err != nil {
		return err
	}
	movers := []*mover{{server: ours}, {server: theirs}}
	for _, m := range movers {
		if m.conn, err = m.dialHTTP(); err != nil {
			return err
		}
		defer m.conn.close()
		if err := m.settle(ctx); err != nil {
			return err
		}
		if m.idle, _, err = memory(m.pid()); err != nil {
			return err
		}
	}
	for range b.rounds {
		for _, s := range movers {
			path := string(s.name) + ".bin"
			if _, err := b.move(ctx, s, "upload", "PUT", path, body); err != nil {
				return err
			}
			if err := sameFile(filepath.Join(s.root, path), content); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			answer, err := b.move(ctx, s, "download", "GET", path+"?type=file&format=base64", nil)
			if err != nil {
				return err
			}
			// The peer breaks base64 into lines.
			if !bytes.Contains(bytes.ReplaceAll(answer, []byte(`\n`), nil), []byte(text)) {
				return fmt.Errorf("%s: a download of other content", s.name)
			}
		}
	}
	return nil
}

// mover is a server that moves files.
type mover struct {
	*server
	conn *httpConn
	idle float64 // resident memory, in bytes, from before
}

// move makes one request and takes its rate, and the server's peak memory above what it had when it was idle.
func (b *bench) move(ctx context.Context, s *mover, id, method, path string, body []byte) ([]byte, error) {
	if err := errors.Join(s.settle(ctx), b.quiet(ctx)); err != nil {
		return nil, err
	}
	if err := resetPeak(s.pid()); err != nil {
		return nil, err
	}
	began := time.Now()
	answer, err := s.conn.do(method, "/api/contents/"+path, body)
	took := time.Since(began)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	_, peak, err := memory(s.pid())
	if err != nil {
		return nil, err
	}
	b.add(id, s.name, fileBytes/1e6/took.Seconds())
	b.add(id+"-memory", s.name, (peak-s.idle)/(1<<20))
	return answer, nil
}

func sameFile(path string, content []byte) error {
	got, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(got, content) {
		err = fmt.Errorf("the uploaded file differs")
	}
	return err
}
