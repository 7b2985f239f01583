package kerneltest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// The flags of a ZMTP frame. https://rfc.zeromq.org/spec/37/#framing
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

const (
	greetingLen = 64
	// maxMessage bounds what one message may claim, so that a client's defect fails here and not in the
	// allocator. Larger than any buffer our benchmarks send.
	maxMessage = 256 << 20
	maxFrames  = 16 << 10
)

// accepts says which socket types may connect to ours. https://rfc.zeromq.org/spec/37/#the-null-security-mechanism
var accepts = map[string][]string{
	"ROUTER": {"DEALER", "REQ", "ROUTER"},
	"PUB":    {"SUB", "XSUB"},
	"XPUB":   {"SUB", "XSUB"},
}

// greeting is ours: ZMTP 3.1, NULL mechanism, not as server.
func greeting() []byte {
	g := make([]byte, greetingLen)
	g[0], g[9] = 0xff, 0x7f
	g[10], g[11] = 3, 1
	copy(g[12:32], "NULL")
	return g
}

// greet exchanges greetings and reads the peer's READY command. It gives the identity the peer chose, "" for
// none. Our own READY is the caller's to send: the peer is connected from then on, so what it must find in
// place (its identity) is put there before.
func greet(conn net.Conn, br *bufio.Reader, socketType string) (identity string, err error) {
	if _, err := conn.Write(greeting()); err != nil {
		return "", err
	}
	var g [greetingLen]byte
	if _, err := io.ReadFull(br, g[:]); err != nil {
		return "", err
	}
	mechanism, _, _ := bytes.Cut(g[12:32], []byte{0})
	switch {
	case g[0] != 0xff || g[9] != 0x7f:
		return "", errors.New("the peer does not speak ZMTP")
	case g[10] < 3:
		return "", fmt.Errorf("the peer speaks ZMTP %d", g[10])
	case string(mechanism) != "NULL":
		return "", fmt.Errorf("the peer wants the mechanism %q", mechanism)
	}
	frames, command, err := readMessage(br)
	if err != nil {
		return "", err
	}
	body, ok := bytes.CutPrefix(frames[0], []byte("\x05READY"))
	if !command || !ok {
		return "", errors.New("the peer's first command is not READY")
	}
	theirs, identity, err := parseReady(body)
	if err == nil && !slices.Contains(accepts[socketType], theirs) {
		err = fmt.Errorf("a %s connected to a %s", theirs, socketType)
	}
	return identity, err
}

// ready is the READY command with the one property a server must send.
func ready(socketType string) []byte {
	body := append([]byte("\x05READY\x0bSocket-Type"), 0, 0, 0, byte(len(socketType)))
	body = append(body, socketType...)
	return append(appendFrameHeader(nil, flagCommand, len(body)), body...)
}

func parseReady(b []byte) (socketType, identity string, err error) {
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < 1+n+4 {
			return "", "", errors.New("a READY property is cut short")
		}
		name, rest := string(b[1:1+n]), b[1+n:]
		size := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if uint64(size) > uint64(len(rest)) {
			return "", "", errors.New("a READY property is cut short")
		}
		switch value := string(rest[:size]); strings.ToLower(name) {
		case "socket-type":
			socketType = value
		case "identity":
			identity = value
		}
		b = rest[size:]
	}
	return socketType, identity, nil
}

// readMessage reads all frames of the next message, or one command.
func readMessage(br *bufio.Reader) (frames [][]byte, command bool, err error) {
	total := uint64(0)
	for {
		flags, err := br.ReadByte()
		if err != nil {
			return nil, false, err
		}
		size, err := readSize(br, flags)
		if err != nil {
			return nil, false, err
		}
		if total += size; size > maxMessage || total > maxMessage || len(frames) == maxFrames {
			return nil, false, fmt.Errorf("a message of %d frames and %d bytes or more", len(frames)+1, total)
		}
		frame := make([]byte, size)
		if _, err := io.ReadFull(br, frame); err != nil {
			return nil, false, err
		}
		frames = append(frames, frame)
		if flags&flagMore == 0 {
			return frames, flags&flagCommand != 0, nil
		}
	}
}

func readSize(br *bufio.Reader, flags byte) (uint64, error) {
	if flags&flagLong == 0 {
		size, err := br.ReadByte()
		return uint64(size), err
	}
	var b [8]byte
	_, err := io.ReadFull(br, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

// appendFrameHeader appends the flags and the length of a frame of size bytes.
func appendFrameHeader(b []byte, flags byte, size int) []byte {
	if size <= 255 {
		return append(b, flags, byte(size))
	}
	return binary.BigEndian.AppendUint64(append(b, flags|flagLong), uint64(size))
}
