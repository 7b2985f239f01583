package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// httpTimeout bounds one request: the peer lists 100,000 entries in about a minute.
const httpTimeout = 3 * time.Minute

// httpConn is one kept connection. net/http's client takes several times the processor time.
type httpConn struct {
	net.Conn
	addr string
	r    *bufio.Reader
	head bytes.Buffer // of the request
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
	h.head.Reset()
	fmt.Fprintf(&h.head, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: token %s\r\n", method, path, h.addr, token)
	if body != nil {
		h.head.WriteString("Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	h.head.WriteString("\r\n")
	pieces := net.Buffers{h.head.Bytes(), body}
	if _, err := pieces.WriteTo(h.Conn); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(h.r, nil)
	if err != nil {
		return nil, err
	}
	h.body.Reset()
	h.body.Grow(max(0, int(answer.ContentLength)))
	_, err = io.Copy(&h.body, answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, answer.Status, h.body.Bytes())
	}
	return h.body.Bytes(), err
}
