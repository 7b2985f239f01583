package ws

import (
	"cmp"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// Config holds the limits of the WebSockets. The zero value of each field takes the default named there.
type Config struct {
	// WriteTimeout is how long a WebSocket may take no bytes at all before it is closed; one that is slow
	// but takes some is kept. Default 30 s: it outlasts a suspended tab and a change of network, and bounds
	// how long the messages of one batch are held for a client that is gone.
	WriteTimeout time.Duration
	// PingInterval is the time between pings; negative sends none and closes nobody for silence. Default
	// 30 s as in the reference server; proxies commonly cut what is silent for 60 s.
	PingInterval time.Duration
	// PongTimeout is how long a client may send nothing at all, pongs included, before it is closed. It is
	// looked at once per PingInterval. Default three of them, 90 s, as in the reference server.
	PongTimeout time.Duration
	// MaxMessageBytes bounds one incoming message. Default 64 MiB: the reference server takes 10 MiB, which
	// is known to cut off file upload widgets. While one arrives, up to twice its size is held.
	MaxMessageBytes int64
	// MaxBatch is the number of messages taken from the kernel's journal at a time. Default 256; measured, 64
	// to 1024 are alike. A WebSocket that was busy keeps room for them, 48 bytes each.
	MaxBatch int
	// StopCode is the close code that Close sends. Default 1001 (going away), after which JupyterLab does
	// not reconnect: right as long as kernels end with the server. Where they outlive it, 1012 (service
	// restart) makes it come back.
	StopCode int
	// Closed, unless nil, is told of each client that goes, before the kernel hears of it; left says that it said
	// goodbye, as a page does that is closed, and one that is asleep does not.
	Closed func(kernelID, clientSession string, left bool)
}

// DefaultConfig is the Config with every default filled in, as a command line shows them.
func DefaultConfig() Config { return Config{}.withDefaults() }

// Validate reports the first setting that makes no sense, naming its flag, or its field if it has none.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.WriteTimeout < 0:
		return fault.New(fault.Invalid, "--ws-write-timeout must be positive")
	case c.PongTimeout < c.PingInterval:
		return fault.New(fault.Invalid, "PongTimeout (%v) must not be shorter than --ws-ping-interval (%v)",
			c.PongTimeout, c.PingInterval)
	case c.MaxMessageBytes < minMessageBytes:
		return fault.New(fault.Invalid, "--ws-max-message-bytes must be at least %d", minMessageBytes)
	case c.MaxBatch < 1 || c.MaxBatch > maxBatch:
		return fault.New(fault.Invalid, "MaxBatch must be 1 to %d", maxBatch)
	case c.StopCode != closeGoingAway && c.StopCode != closeServiceRestart:
		return fault.New(fault.Invalid, "StopCode must be %d or %d", closeGoingAway, closeServiceRestart)
	}
	return nil
}

const (
	minMessageBytes = 4 << 10 // below this no execute_request fits
	maxBatch        = 1 << 16 // a slip of the finger, not a limit anyone needs
)

func (c Config) withDefaults() Config {
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	c.PingInterval = cmp.Or(c.PingInterval, 30*time.Second)
	c.PongTimeout = cmp.Or(c.PongTimeout, 3*c.PingInterval)
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, 64<<20)
	c.MaxBatch = cmp.Or(c.MaxBatch, 256)
	c.StopCode = cmp.Or(c.StopCode, closeGoingAway)
	if c.PingInterval < 0 {
		c.PongTimeout = 0
	}
	return c
}
