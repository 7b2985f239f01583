package kerneltest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
)

// Options shape a Kernel. The zero Options are a polite kernel that reads Commands.
type Options struct {
	// Script answers requests; nil is (*Request).Default for all of them.
	Script Script
	// Transport is "ipc" (when empty) or "tcp". Start only: otherwise the connection file decides.
	Transport string
	// Key signs the messages. Start only. When empty, Start makes one; Unsigned means really none.
	Key      string
	Unsigned bool
	// NoWelcome makes iopub a plain PUB, as in kernels from before JEP 65.
	NoWelcome bool
	// HWM makes iopub drop messages for a subscriber that has this many waiting, as libzmq's PUB does at
	// 1000. 0 makes the kernel wait for its subscribers instead, so that nothing is lost.
	HWM int
	// Accept says how sockets (by name: shell, iopub, stdin, control, hb) take connections.
	Accept map[string]Accept
	// Startup is what happens before the sockets are bound.
	Startup Startup
	// Getenv and Cwd answer the commands "env" and "cwd"; nil and "" are this process's own.
	Getenv func(name string) string
	Cwd    string
}

// Startup is how a kernel begins.
type Startup string

// The ways to begin.
const (
	StartupNormal Startup = ""
	StartupNever  Startup = "never" // lives, but never binds its sockets
	StartupDead   Startup = "dead"  // exits at once with code 1
)

// Script works on one request; it runs on the kernel's shell or control goroutine. It may publish and reply
// by r's methods, must return when r.Done() is closed, and leaves what it does not care for to r.Default().
// The busy and idle statuses around it, and a plain ok reply if it sent none, are not its business.
type Script func(r *Request)

// socketNames in the order of their ports in a connection file.
var socketNames = [...]string{"shell", "iopub", "stdin", "control", "hb"}

// connection is what a connection file says.
// https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files
type connection struct {
	transport, ip, key string
	ports              map[string]int // by socket name
	raw                map[string]json.RawMessage
}

func readConnection(file string) (connection, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return connection{}, err
	}
	c := connection{ports: map[string]int{}}
	if err := json.Unmarshal(b, &c.raw); err != nil {
		return connection{}, fmt.Errorf("connection file: %w", err)
	}
	fields := map[string]any{"transport": &c.transport, "ip": &c.ip, "key": &c.key}
	for _, name := range socketNames {
		fields[name+"_port"] = new(int)
	}
	for name, to := range fields {
		if raw, ok := c.raw[name]; ok {
			if err := json.Unmarshal(raw, to); err != nil {
				return connection{}, fmt.Errorf("connection file: %s: %w", name, err)
			}
		}
	}
	for _, name := range socketNames {
		c.ports[name] = *fields[name+"_port"].(*int)
	}
	if c.transport == "" {
		c.transport = "tcp"
	}
	if c.ip == "" {
		c.ip = "127.0.0.1"
	}
	return c, nil
}

// write writes the file anew, other fields kept, as ipykernel does when it chose its ports: not atomically.
func (c connection) write(file string) error {
	for name, port := range c.ports {
		c.raw[name+"_port"] = json.RawMessage(strconv.Itoa(port))
	}
	b, err := json.MarshalIndent(c.raw, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// bind listens on all five sockets. Port 0 lets the kernel choose (tcp: any; ipc: the socket's number), and
// the choice is written to ports.
func (c connection) bind() (listeners map[string]net.Listener, chose bool, err error) {
	listeners = map[string]net.Listener{}
	for i, name := range socketNames {
		if c.transport == "ipc" && c.ports[name] == 0 {
			c.ports[name], chose = i+1, true
		}
		ln, err := listen(c.transport, c.address(name))
		if err != nil {
			for _, ln := range listeners {
				ln.Close()
			}
			return nil, false, err
		}
		listeners[name] = ln
		if c.ports[name] == 0 {
			c.ports[name], chose = ln.Addr().(*net.TCPAddr).Port, true
		}
	}
	return listeners, chose, nil
}

func (c connection) address(name string) string {
	if c.transport == "ipc" {
		return fmt.Sprintf("%s-%d", c.ip, c.ports[name])
	}
	return net.JoinHostPort(c.ip, strconv.Itoa(c.ports[name]))
}
