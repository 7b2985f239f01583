package ws

import (
	"encoding/binary"
	"time"
)

// askEvery bounds how often a client is asked whether what was written came. What it got since it was last asked
// may be written again to its next connection, if this one breaks.
const askEvery = 100 * time.Millisecond

// wrote notes that the messages up to place were written, and asks whether they came: now, or when the last question
// is old enough. A client's connection may die with megabytes in the buffers on the way. A ping tells: RFC 6455 has
// the client send its payload back, in the order of what it read.
func (c *conn) wrote(place uint64) {
	if c.interval <= 0 || place == 0 {
		return
	}
	c.owedMu.Lock()
	waiting := c.written > c.asked
	c.written = place
	now := !waiting && time.Since(c.askedAt) >= askEvery
	switch {
	case now:
		c.owedAsk = true
	case !waiting:
		c.wake()
	}
	c.owedMu.Unlock()
	if now {
		c.settle()
	}
}

// came reads the payload of a pong; false says that it is no answer to wrote.
func (c *conn) came(data string) (place uint64, ok bool) {
	if len(data) != placeBytes {
		return 0, false
	}
	place = binary.BigEndian.Uint64([]byte(data))
	c.owedMu.Lock()
	defer c.owedMu.Unlock()
	if place > c.asked {
		return 0, false
	}
	c.answered = max(c.answered, place)
	return place, true
}

// owesAnswer asks for what the client was not asked yet, and tells whether there is something that it has not said
// to have come.
func (c *conn) owesAnswer() bool {
	if c.deaf() {
		return false
	}
	c.owedMu.Lock()
	owes := c.answered < c.written
	c.owedAsk = c.owedAsk || c.asked < c.written
	c.owedMu.Unlock()
	c.settle()
	return owes
}

// deaf tells whether the client is one that does not answer pings, against the protocol, or is sent none: what was
// written counts then, or it would get everything again.
func (c *conn) deaf() bool {
	c.owedMu.Lock()
	defer c.owedMu.Unlock()
	return c.interval <= 0 || c.answered == 0 && !c.first.IsZero() && time.Since(c.first) > c.interval
}

// placeBytes is the length of a place in a ping.
const placeBytes = 8
