package lab

import (
	"bytes"
	"container/list"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/singleflight"

	"github.com/nbserv/nbserv/internal/fault"
)

// maxPacked bounds the compressed files that are kept, in bytes. All of JupyterLab 4.6 and Notebook 7.6 take 8 MB.
const maxPacked = 24 << 20

// gzipLevel has 110 MB/s and 30 % of the size of JupyterLab's scripts, zstd's own default 147 MB/s and 29 % (measured
// on one core; gzip's default level would have 91 MB/s for one more percent).
const gzipLevel = 5

// zstdWindow is the most that browsers have to take (RFC 9659).
const zstdWindow = 8 << 20

// encodings are what files are compressed to, the best first.
var encodings = []string{"zstd", "gzip"}

// encodingFor is the best encoding that a client takes, or "". A request for a range gets the file as it is.
func encodingFor(r *http.Request) string {
	if r.Header.Get("Range") != "" {
		return ""
	}
	accepted := r.Header.Get("Accept-Encoding")
	for _, enc := range encodings {
		if accepts(accepted, enc) {
			return enc
		}
	}
	return ""
}

// accepts reads an Accept-Encoding header (RFC 9110, 12.5.3). A star is not enough: who wants an encoding names it.
func accepts(header, enc string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(name), enc) {
			continue
		}
		q, weighted := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(params, " ", "")), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !weighted || err == nil && weight > 0
	}
	return false
}

// pack compresses b.
func pack(enc string, b []byte) ([]byte, error) {
	var out bytes.Buffer
	var z io.WriteCloser
	var err error
	if enc == "zstd" {
		z, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	} else {
		z, err = gzip.NewWriterLevel(&out, gzipLevel)
	}
	if err == nil {
		_, err = z.Write(b)
		err = errors.Join(err, z.Close())
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "compress with %s", enc)
	}
	return out.Bytes(), nil
}

// packed keeps compressed files up to a bound, those used last. Safe for concurrent use.
type packed struct {
	max   int64 // immutable
	group singleflight.Group

	mu    sync.Mutex
	bytes int64                       // guarded by mu
	byKey map[packedKey]*list.Element // guarded by mu
	used  *list.List                  // guarded by mu; of packedFile, the last used in front
}

// packedKey is one version of a file in one encoding.
type packedKey struct{ path, enc, version string }

type packedFile struct {
	key  packedKey
	body []byte // immutable
}

func newPacked(max int64) *packed {
	return &packed{max: max, byKey: map[packedKey]*list.Element{}, used: list.New()}
}

// get is the file of key, made by make unless it is there; concurrent calls for one file make it once.
func (p *packed) get(key packedKey, make func() ([]byte, error)) ([]byte, error) {
	if body, ok := p.lookUp(key); ok {
		return body, nil
	}
	body, err, _ := p.group.Do(key.path+"\x00"+key.enc+"\x00"+key.version, func() (any, error) {
		if body, ok := p.lookUp(key); ok { // another call made it before this one began
			return body, nil
		}
		body, err := make()
		if err == nil {
			p.keep(packedFile{key, body})
		}
		return body, err
	})
	if err != nil {
		return nil, err
	}
	return body.([]byte), nil
}

func (p *packed) lookUp(key packedKey) ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.byKey[key]
	if !ok {
		return nil, false
	}
	p.used.MoveToFront(e)
	return e.Value.(packedFile).body, true
}

func (p *packed) keep(f packedFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byKey[f.key] = p.used.PushFront(f)
	p.bytes += int64(len(f.body))
	for p.bytes > p.max {
		last := p.used.Back()
		old := p.used.Remove(last).(packedFile)
		delete(p.byKey, old.key)
		p.bytes -= int64(len(old.body))
	}
}
