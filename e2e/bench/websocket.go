package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"
)

const (
	// runTimeout bounds one request with all its answers.
	runTimeout = 2 * time.Minute
	// dialTimeout bounds an upgrade; a peer out of sockets never answers.
	dialTimeout = 10 * time.Second
	// busyBuffer and idleBuffer are what a WebSocket reads at a time: as much as a socket gives, or little
	// where thousands are held.
	busyBuffer = 256 << 10
	idleBuffer = 4 << 10
)

// WebSocket opcodes and bits. RFC 6455 section 5.2.
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
	finBit   = 0x80
	maskBit  = 0x80
)

// socket is a WebSocket of a kernel's channels: a client. It reads frames where they lie in its buffer and looks
// at a few bytes of each.
type socket struct {
	conn    net.Conn
	r       *bufio.Reader
	session string
	v1      bool
	large   []byte // a frame that the buffer does not hold
	pending int    // bytes of the buffer that the last frame still lies in
}

// dialSocket opens a WebSocket as a client session.
func (s *server) dialSocket(kernelID, session, protocol string, buffer int) (*socket, error) {
	conn, err := net.DialTimeout("tcp", s.addr, dialTimeout)
	if err != nil {
		return nil, err
	}
	w := &socket{conn: conn, r: bufio.NewReaderSize(conn, buffer), session: session, v1: protocol == protocolV1}
	if err := w.upgrade(s.addr, "/api/kernels/"+kernelID+"/channels?session_id="+session, protocol); err != nil {
		w.close()
		return nil, fmt.Errorf("%s: WebSocket: %w", s.name, err)
	}
	return w, nil
}

func (w *socket) upgrade(host, path, protocol string) error {
	if err := w.conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	head := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: token " + token + "\r\n" +
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YmVuY2htYXJrLTE2LWJ5dA==\r\n"
	if protocol != protocolJSON {
		head += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	if _, err := io.WriteString(w.conn, head+"\r\n"); err != nil {
		return err
	}
	answer, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return err
	}
	if err := w.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Protocol") != protocol {
		return errors.New(answer.Status)
	}
	return nil
}

func (w *socket) close() { _ = w.conn.Close() }

// write sends one frame, with a mask of zeros: it costs the server what any other does, and us nothing.
func (w *socket) write(opcode byte, payload []byte) error {
	var head [14]byte
	head[0] = finBit | opcode
	n := 2
	switch size := len(payload); {
	case size < 126:
		head[1] = maskBit | byte(size)
	case size < 1<<16:
		head[1] = maskBit | 126
		binary.BigEndian.PutUint16(head[2:], uint16(size))
		n = 4
	default:
		head[1] = maskBit | 127
		binary.BigEndian.PutUint64(head[2:], uint64(size))
		n = 10
	}
	_, err := w.conn.Write(slices.Concat(head[:n+4], payload))
	return err
}

// next gives the next data frame's payload, valid until the following call. It answers pings.
func (w *socket) next() ([]byte, error) {
	for {
		opcode, payload, err := w.frame()
		if err != nil {
			return nil, err
		}
		switch opcode {
		case opText, opBinary:
			return payload, nil
		case opPing:
			if err := w.write(opPong, payload); err != nil {
				return nil, err
			}
		case opClose:
			return nil, fmt.Errorf("the server closed the WebSocket: %q", payload)
		}
	}
}

// maxFrame is more than the bench ever asks for.
const maxFrame = 16 << 20

// frame reads one unfragmented frame.
func (w *socket) frame() (opcode byte, payload []byte, err error) {
	if _, err := w.r.Discard(w.pending); err != nil {
		return 0, nil, err
	}
	w.pending = 0
	head, err := w.r.Peek(2)
	if err != nil {
		return 0, nil, err
	}
	opcode, size, n := head[0], uint64(head[1]), 2
	if opcode&finBit == 0 || size&maskBit != 0 {
		return 0, nil, errFrame
	}
	switch size {
	case 126:
		n = 4
		if head, err = w.r.Peek(n); err == nil {
			size = uint64(binary.BigEndian.Uint16(head[2:]))
		}
	case 127:
		n = 10
		if head, err = w.r.Peek(n); err == nil {
			size = binary.BigEndian.Uint64(head[2:])
		}
	}
	if err == nil && size > maxFrame {
		err = errFrame
	}
	if err != nil {
		return 0, nil, err
	}
	payload, err = w.payload(n, int(size))
	return opcode &^ finBit, payload, err
}

// payload gives the bytes behind a header of n bytes: in the buffer if they fit, else read past it.
func (w *socket) payload(n, size int) ([]byte, error) {
	if n+size <= w.r.Size() {
		whole, err := w.r.Peek(n + size)
		w.pending = len(whole)
		return whole[min(n, len(whole)):], err
	}
	if _, err := w.r.Discard(n); err != nil {
		return nil, err
	}
	if cap(w.large) < size {
		w.large = make([]byte, size)
	}
	_, err := io.ReadFull(w.r, w.large[:size])
	return w.large[:size], err
}

func (w *socket) run(e *execution) error {
	if err := w.send(e); err != nil {
		return err
	}
	return w.follow(e)
}

func (w *socket) send(e *execution) error {
	if w.v1 {
		return w.write(opBinary, encodeV1("shell", e.parts(w.session)))
	}
	return w.write(opText, encodeJSON("shell", e.parts(w.session)))
}

// follow reads until an execution, its own or another client's, has ended.
func (w *socket) follow(e *execution) error {
	return w.followUntil(e, time.Now().Add(runTimeout))
}

func (w *socket) followUntil(e *execution, deadline time.Time) error {
	decode := decodeJSON
	if w.v1 {
		decode = decodeV1
	}
	if err := w.conn.SetDeadline(deadline); err != nil {
		return err
	}
	for {
		frame, err := w.next()
		if err != nil {
			return fmt.Errorf("after %d messages: %w", e.got, err)
		}
		m, err := decode(frame)
		if err != nil {
			return err
		}
		if done, err := e.take(m); done || err != nil {
			return err
		}
	}
}
