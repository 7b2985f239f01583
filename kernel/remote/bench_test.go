package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// endless is a Host of one kernel that says the same again and again, as fast as it is read.
type endless struct {
	kernel.Host
	message *kernel.Message
}

func (h *endless) List() []kernel.Status                { return nil }
func (h *endless) Get(id string) (kernel.Status, error) { return kernel.Status{ID: id}, nil }
func (h *endless) Watch(ctx context.Context) iter.Seq[kernel.Status] {
	return func(func(kernel.Status) bool) { <-ctx.Done() }
}

func (h *endless) Attach(string, kernel.AttachOptions) (kernel.Client, error) {
	return &endlessClient{message: h.message}, nil
}

type endlessClient struct {
	message *kernel.Message
	seq     uint64
}

func (c *endlessClient) Send(*kernel.Message) error { return nil }
func (c *endlessClient) Position() kernel.Position  { return kernel.Position{Seq: c.seq} }
func (c *endlessClient) Detach()                    {}
func (c *endlessClient) Confirm(uint64)             {}

func (c *endlessClient) Next(ctx context.Context, buf []kernel.Entry) (int, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	for i := range buf {
		c.seq++
		buf[i] = kernel.Entry{Seq: c.seq, Message: c.message}
	}
	return len(buf), nil
}

// BenchmarkStream is what an entry costs on its way from the journal to the server: both ends of the socket.
func BenchmarkStream(b *testing.B) {
	for _, size := range []int{100, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dir, err := os.MkdirTemp("", "h")
			require.NoError(b, err)
			defer os.RemoveAll(dir)
			path := filepath.Join(dir, "s")
			h := &endless{message: message(b, size)}
			s := NewServer(ServerOptions{Open: func(context.Context, json.RawMessage) (kernel.Host, []string, error) { return h, nil, nil }})
			ln, err := Listen(path, slog.New(slog.DiscardHandler))
			require.NoError(b, err)
			done := make(chan error, 1)
			go func() { done <- s.Serve(ln) }()
			far, err := Dial(b.Context(), Options{Socket: func() string { return path }})
			require.NoError(b, err)
			c, err := far.Attach("k", kernel.AttachOptions{ClientSession: "page", Borrow: true})
			require.NoError(b, err)
			b.SetBytes(int64(h.message.Size()))
			b.ReportAllocs()
			b.ResetTimer()
			var buf [256]kernel.Entry
			for n := 0; n < b.N; {
				got, err := c.Next(b.Context(), buf[:])
				require.NoError(b, err)
				n += got
			}
			b.StopTimer()
			c.Detach()
			far.Close()
			s.Close()
			require.NoError(b, <-done)
		})
	}
}
