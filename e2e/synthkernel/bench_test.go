package main_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// line is the barest client of one socket: it writes whole messages and counts what it reads.
type line struct {
	b    *testing.B
	conn net.Conn
	br   *bufio.Reader
}

func connect(b *testing.B, fields map[string]any, socket, socketType string) *line {
	b.Helper()
	conn, err := net.Dial("unix", fmt.Sprintf("%s-%v", fields["ip"], fields[socket+"_port"]))
	require.NoError(b, err)
	b.Cleanup(func() { conn.Close() })
	require.NoError(b, conn.SetDeadline(time.Now().Add(deadline)))
	greeting := make([]byte, 64)
	greeting[0], greeting[9], greeting[10], greeting[11] = 0xff, 0x7f, 3, 1
	copy(greeting[12:], "NULL")
	ready := "\x05READY\x0bSocket-Type\x00\x00\x00" + string(rune(len(socketType))) + socketType
	_, err = fmt.Fprintf(conn, "%s\x04%c%s", greeting, len(ready), ready)
	require.NoError(b, err)
	l := &line{b: b, conn: conn, br: bufio.NewReaderSize(conn, 256<<10)}
	_, err = io.CopyN(io.Discard, l.br, 64)
	require.NoError(b, err)
	l.message("") // READY
	return l
}

// message reads one message and reports whether its content (the frame before the last, or the last) has text.
func (l *line) message(text string) bool {
	found := false
	for {
		flags, err := l.br.ReadByte()
		l.check(err)
		size := l.size(flags)
		if size == uint64(len(text)) {
			frame, err := l.br.Peek(int(size))
			l.check(err)
			found = found || string(frame) == text
		}
		_, err = l.br.Discard(int(size))
		l.check(err)
		if flags&1 == 0 {
			return found
		}
	}
}

func (l *line) size(flags byte) uint64 {
	if flags&2 == 0 {
		c, err := l.br.ReadByte()
		l.check(err)
		return uint64(c)
	}
	b, err := l.br.Peek(8)
	l.check(err)
	size := binary.BigEndian.Uint64(b)
	_, err = l.br.Discard(8)
	l.check(err)
	return size
}

// check is require.NoError without its cost.
func (l *line) check(err error) {
	if err != nil {
		l.b.Fatal(err)
	}
}

// execute sends an execute_request.
func (l *line) execute(codec kernel.Codec, code string) {
	content, err := json.Marshal(map[string]any{"code": code})
	require.NoError(l.b, err)
	m, err := kernel.NewMessage(kernel.Shell, [4]json.RawMessage{
		json.RawMessage(`{"msg_id":"m","msg_type":"execute_request","session":"s","username":"u","version":"5.4"}`),
		json.RawMessage(`{}`), json.RawMessage(`{}`), content,
	}, nil)
	require.NoError(l.b, err)
	var wire []byte
	frames := codec.Encode(m)
	for i, f := range frames {
		flags := byte(1)
		if i == len(frames)-1 {
			flags = 0
		}
		wire = append(wire, flags, byte(len(f)))
		wire = append(wire, f...)
	}
	_, err = l.conn.Write(wire)
	require.NoError(l.b, err)
}

const idleStatus = `{"execution_state":"idle"}`

// bench runs the program with one processor of Go's and reports its processor time an operation too.
func bench(b *testing.B, run func(b *testing.B, shell, iopub *line, codec kernel.Codec)) {
	for _, o := range []kerneltest.Options{{}, {Unsigned: true}} {
		name := "signed"
		if o.Unsigned {
			name = "unsigned"
		}
		b.Run(name, func(b *testing.B) {
			b.Setenv("GOMAXPROCS", "1")
			cmd, file := start(b, o)
			fields := waitBound(b, file)
			codec := kernel.NewCodec([]byte(fields["key"].(string)))
			iopub := connect(b, fields, "iopub", "SUB")
			_, err := io.WriteString(iopub.conn, "\x00\x01\x01")
			require.NoError(b, err)
			iopub.message("") // iopub_welcome
			shell := connect(b, fields, "shell", "DEALER")
			b.ResetTimer()
			run(b, shell, iopub, codec)
			b.StopTimer()
			b.ReportMetric(float64(processorTime(b, cmd).Microseconds())/float64(b.N), "kernel-µs/op")
		})
	}
}

// processorTime ends the program and gives all the processor time it used.
func processorTime(b *testing.B, cmd *exec.Cmd) time.Duration {
	require.NoError(b, cmd.Process.Kill())
	cmd.Wait()
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func BenchmarkRoundTrip(b *testing.B) {
	bench(b, func(b *testing.B, shell, iopub *line, codec kernel.Codec) {
		for range b.N {
			shell.execute(codec, "echo x")
			shell.message("")
			for !iopub.message(idleStatus) {
			}
		}
	})
}

func BenchmarkFlood(b *testing.B) {
	for _, size := range []int{100, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchOutput(b, "flood", size) })
	}
}

func BenchmarkBuffers(b *testing.B) {
	for _, size := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchOutput(b, "buffers", size) })
	}
}

// benchOutput measures one execution of b.N messages.
func benchOutput(b *testing.B, command string, size int) {
	bench(b, func(b *testing.B, shell, iopub *line, codec kernel.Codec) {
		b.SetBytes(int64(size))
		shell.execute(codec, strings.Join([]string{command, fmt.Sprint(b.N), fmt.Sprint(size)}, " "))
		for !iopub.message(idleStatus) {
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	})
}
