package ws

import (
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// Config holds the limits of the WebSockets. DefaultConfig is the place to start from.
type Config struct {
	// WriteTimeout is how long a WebSocket may take no bytes at all before it is closed; one that is slow
	// but takes some is kept. 30 s outlasts a suspended tab and a change of network, and bounds how long
	// the messages of one batch are held for a client that is gone.
	WriteTimeout time.Duration
	// PingInterval is the time between pings; 0 sends none and never times out. 30 s as the reference
	// server; proxies commonly cut what is silent for 60 s.
	PingInterval time.Duration
	// PongTimeout is how long a client may send nothing at all, pongs included, before it is closed. It is
	// looked at once per PingInterval. 90 s as the reference server.
	PongTimeout time.Duration
	// MaxMessageBytes bounds one incoming message. 64 MiB: the reference takes 10 MiB, which is known to
	// cut off file upload widgets.
	MaxMessageBytes int64
	// MaxBatch is the number of messages taken from the kernel's journal at a time. 256, measured: more
	// gains nothing, and an idle WebSocket keeps room for them (24 bytes each).
	MaxBatch int
	// StopCode is the close code that Close sends. 1001 (going away) tells JupyterLab not to reconnect,
	// right as long as the kernels end with the server; where they outlive it, 1012 makes it come back.
	StopCode int
}

// DefaultConfig is the Config that is used when nothing else is asked for.
func DefaultConfig() Config {
	return Config{
		WriteTimeout:    30 * time.Second,
		PingInterval:    30 * time.Second,
		PongTimeout:     90 * time.Second,
		MaxMessageBytes: 64 << 20,
		MaxBatch:        256,
		StopCode:        closeGoingAway,
	}
}

// Validate says which setting is unusable, as an Invalid fault.
func (c Config) Validate() error {
	switch {
	case c.WriteTimeout <= 0:
		return fault.New(fault.Invalid, "the WebSocket write timeout must be positive, not %v", c.WriteTimeout)
	case c.PingInterval < 0:
		return fault.New(fault.Invalid, "the WebSocket ping interval must not be negative, not %v", c.PingInterval)
	case c.PingInterval > 0 && c.PongTimeout < c.PingInterval:
		return fault.New(fault.Invalid, "the WebSocket pong timeout (%v) must not be shorter than the ping interval (%v)",
			c.PongTimeout, c.PingInterval)
	case c.MaxMessageBytes < minMessageBytes:
		return fault.New(fault.Invalid, "the WebSocket message limit must be at least %d bytes, not %d",
			minMessageBytes, c.MaxMessageBytes)
	case c.MaxBatch < 1 || c.MaxBatch > maxBatch:
		return fault.New(fault.Invalid, "the WebSocket batch must be 1 to %d messages, not %d", maxBatch, c.MaxBatch)
	case c.StopCode != closeGoingAway && c.StopCode != closeServiceRestart:
		return fault.New(fault.Invalid, "the WebSocket stop code must be %d or %d, not %d",
			closeGoingAway, closeServiceRestart, c.StopCode)
	}
	return nil
}

const (
	minMessageBytes = 4 << 10 // below this no execute_request fits
	maxBatch        = 1 << 16 // a slip of the finger, not a limit anyone needs
)
