package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"time"
)

// httpTimeout bounds one request: the peer lists 100,000 entries in about a minute.
const httpTimeout = 3 * time.Minute

// httpConn is one kept connection. net/http's client takes several times the processor time, of which the server
// under load would have to give some.
type httpConn struct {
	net.Conn
	addr string
	r    *bufio.Reader
	head []byte       // of the request
	body bytes.Buffer // of the answer
}

func (s *server) dialHTTP() (*httpConn, error) {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	return &httpConn{Conn: c, addr: s.addr, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

func (h *httpConn) close() { _ = h.Conn.Close() }

// do makes one request and gives the answer's body, valid until the next one. Anything but 2xx is an error.
func (h *httpConn) do(method, path string, body []byte) ([]byte, error) {
	if err := h.SetDeadline(time.Now().Add(httpTimeout)); err != nil {
		return nil, err
	}
	h.head = append(h.head[:0], method...)
	for _, s := range []string{" ", path, " HTTP/1.1\r\nHost: ", h.addr, "\r\nAuthorization: token ", token, "\r\n"} {
		h.head = append(h.head, s...)
	}
	if body != nil {
		h.head = fmt.Appendf(h.head, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	pieces := net.Buffers{append(h.head, "\r\n"...), body}
	if body == nil {
		pieces = pieces[:1]
	}
	if _, err := pieces.WriteTo(h.Conn); err != nil {
		return nil, err
	}
	status, err := h.answer()
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: %d: %.300s", method, path, status, h.body.Bytes())
	}
	return h.body.Bytes(), err
}

var errHTTP = errors.New("the server's answer is not HTTP")

// answer reads one answer: the status line, of the header only what tells where the body ends, the body.
func (h *httpConn) answer() (status int, err error) {
	first, err := h.line()
	if err != nil {
		return 0, err
	}
	words := bytes.SplitN(first, []byte(" "), 3)
	if len(words) < 2 {
		return 0, errHTTP
	}
	if status, err = strconv.Atoi(string(words[1])); err != nil {
		return 0, errHTTP
	}
	size, chunked := 0, false
	for {
		l, err := h.line()
		if err != nil {
			return 0, err
		}
		if len(l) == 0 {
			break
		}
		name, value, _ := bytes.Cut(l, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if size, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, errHTTP
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	return status, h.readBody(size, chunked)
}

// line gives the next line without its end, valid until more is read.
func (h *httpConn) line() ([]byte, error) {
	l, err := h.r.ReadSlice('\n')
	return bytes.TrimRight(l, "\r\n"), err
}

func (h *httpConn) readBody(size int, chunked bool) error {
	h.body.Reset()
	if chunked {
		if _, err := h.body.ReadFrom(httputil.NewChunkedReader(h.r)); err != nil {
			return err
		}
		_, err := h.line() // the empty trailer, which the chunked reader leaves
		return err
	}
	h.body.Grow(size)
	_, err := io.CopyN(&h.body, h.r, int64(size))
	return err
}
