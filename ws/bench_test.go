package ws

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// The benchmarks' clients do the least a client can: they count frames. They run in another process, so that
// the CPU time reported is the server's: cpu-us/msg is user and system time per delivered message.
const drainEnv = "NBSERV_WS_DRAIN"

// drainMain reads orders from stdin, one per line: "open PROTOCOL COUNT" opens WebSockets, "read N" waits
// until each has received N more messages. Each order is answered with a line.
func drainMain(addr string) {
	var conns []*drain
	for in := bufio.NewScanner(os.Stdin); in.Scan(); fmt.Println("ok") {
		f := strings.Fields(in.Text())
		n, _ := strconv.Atoi(f[len(f)-1])
		switch f[0] {
		case "open":
			for range n {
				conns = append(conns, openDrain(addr, strings.TrimPrefix(f[1], "-")))
			}
		case "read":
			var all sync.WaitGroup
			for _, c := range conns {
				all.Go(func() { c.read(n) })
			}
			all.Wait()
		}
	}
}

type drain struct {
	net.Conn
	r *bufio.Reader
}

func openDrain(addr, protocol string) *drain {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(c, "GET /api/kernels/k/channels HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
	if protocol != "" {
		fmt.Fprintf(c, "Sec-WebSocket-Protocol: %s\r\n", protocol)
	}
	fmt.Fprint(c, "\r\n")
	d := &drain{Conn: c, r: bufio.NewReaderSize(c, 256<<10)}
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			panic(err)
		}
		if line == "\r\n" {
			return d
		}
	}
}

// read takes n messages off the connection.
func (d *drain) read(n int) {
	for n > 0 {
		head, err := d.r.Peek(2)
		if err != nil {
			panic(err)
		}
		data, size, skip := head[0]&0x0f <= opBinary, int(head[1]), 2
		switch size {
		case len126:
			head, _ = d.r.Peek(4)
			size, skip = int(binary.BigEndian.Uint16(head[2:])), 4
		case len127:
			head, _ = d.r.Peek(10)
			size, skip = int(binary.BigEndian.Uint64(head[2:])), 10
		}
		if _, err := d.r.Discard(skip + size); err != nil {
			panic(err)
		}
		if data {
			n--
		}
	}
}

// drains is the other process.
type drains struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startDrains(b testing.TB, s *served) *drains {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), drainEnv+"="+strings.TrimPrefix(s.http.URL, "http://"), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		require.NoError(b, in.Close())
		require.NoError(b, cmd.Wait())
	})
	return &drains{in: in, out: bufio.NewReader(out)}
}

func (d *drains) order(b testing.TB, format string, args ...any) {
	d.send(b, format, args...)
	d.wait(b)
}

func (d *drains) send(b testing.TB, format string, args ...any) {
	_, err := fmt.Fprintf(d.in, format+"\n", args...)
	require.NoError(b, err)
}

func (d *drains) wait(b testing.TB) {
	_, err := d.out.ReadString('\n')
	require.NoError(b, err)
}

func cpuTime(b testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDeliver is the flow from the kernel's journal into clients' sockets.
func BenchmarkDeliver(b *testing.B) {
	for _, name := range []string{"v1", "default"} {
		for _, clients := range []int{1, 50} {
			for _, size := range []struct {
				name string
				make func() *kernel.Message
			}{
				{"700B", func() *kernel.Message { return stream(b, 1)[0] }},
				{"100KB", func() *kernel.Message {
					return message(b, kernel.IOPub, "m", `{"name":"stdout","text":"`+strings.Repeat("x", 100_000)+`"}`)
				}},
				{"1MBbuffer", func() *kernel.Message { return message(b, kernel.IOPub, "m", `{}`, make([]byte, 1<<20)) }},
			} {
				b.Run(fmt.Sprintf("%s/%dclients/%s", name, clients, size.name), func(b *testing.B) {
					deliver(b, protocols[name], clients, size.make())
				})
			}
		}
	}
}

func deliver(b *testing.B, protocol string, clients int, m *kernel.Message) {
	s := serve(b, nil)
	d := startDrains(b, s)
	d.order(b, "open -%s %d", protocol, clients)
	b.SetBytes(int64(m.Size() * clients))
	b.ResetTimer()
	began, cpu := time.Now(), cpuTime(b)
	d.send(b, "read %d", b.N)
	for n := b.N; n > 0; n -= 64 { // as a kernel's reader does: a few at a time
		s.say(repeat(m, min(n, 64))...)
	}
	d.wait(b)
	per := float64(b.N * clients)
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1e3/per, "cpu-us/msg")
	b.ReportMetric(per/time.Since(began).Seconds(), "msg/s")
}

func repeat(m *kernel.Message, n int) []*kernel.Message {
	ms := make([]*kernel.Message, n)
	for i := range ms {
		ms[i] = m
	}
	return ms
}

// BenchmarkLoneMessage is the time from the kernel's word to the client's ear, and back to silence.
func BenchmarkLoneMessage(b *testing.B) {
	s := serve(b, nil)
	d := startDrains(b, s)
	d.order(b, "open -%s 1", subprotocolV1)
	m := stream(b, 1)[0]
	for b.Loop() {
		d.send(b, "read 1")
		s.say(m)
		d.wait(b)
	}
}

// BenchmarkReceive is the flow from a client into the kernel.
func BenchmarkReceive(b *testing.B) {
	for _, name := range []string{"v1", "default"} {
		for _, size := range []int{700, 100_000, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				s := serve(b, nil)
				c := s.dial(b, "", protocols[name])
				require.NoError(b, c.SetReadDeadline(time.Time{}))
				m := message(b, kernel.Shell, "m", `{}`, make([]byte, size))
				op, data := encoded(b, codecs[name], m)
				frame := binary.BigEndian.AppendUint64([]byte{finBit | byte(op), 0x80 | len127}, uint64(len(data)))
				frame = append(append(frame, 0, 0, 0, 0), data...) // a mask that changes nothing: no work for the client
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					_, err := c.NetConn().Write(frame)
					require.NoError(b, err)
					<-s.sent
				}
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := stream(b, 1)[0]
	for _, name := range []string{"v1", "default"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			w := frameWriters.Get().(*frameWriter)
			for b.Loop() {
				codecs[name].encode(w, m)
				if w.full() {
					w.pieces()
					w.reset()
				}
			}
		})
	}
}

// BenchmarkIdle reports what an idle WebSocket costs the server: heap and stacks, HTTP's share included.
func BenchmarkIdle(b *testing.B) {
	const count = 2000
	s := serve(b, nil)
	d := startDrains(b, s)
	d.order(b, "open -%s 1", subprotocolV1) // what there is only once
	before := inUse()
	d.order(b, "open -%s %d", subprotocolV1, count)
	for b.Loop() {
		s.say(stream(b, 10)...)
		d.order(b, "read 10")
	}
	b.ReportMetric(float64(inUse()-before)/count/1024, "KiB/websocket")
}

func inUse() uint64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
