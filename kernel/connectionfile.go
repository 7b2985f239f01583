package kernel

import (
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	channelPorts = 5  // shell, iopub, stdin, control, heartbeat
	keyBytes     = 32 // as long as HMAC-SHA256's digest: more gains nothing
)

// connectionID is what may stand in the name of a connection file.
var connectionID = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Connection is the folder, the connection file and the ports of one incarnation of a kernel. Safe for
// concurrent use.
type Connection struct {
	// immutable
	Info ConnectionInfo
	File string // absolute path of the connection file, kernel-{id}.json as notebooks expect to find it
	Dir  string // absolute path of the folder of 0700 that holds it and the sockets

	mu   sync.Mutex
	held []net.Listener // guarded by mu
}

// NewConnection makes a folder for one incarnation of the kernel id below dir, which it makes with mode 0700
// when it is missing, and writes a connection file of mode 0600 with a new random key there. TCP ports stay
// taken until Release. An id that is no file name is Invalid; a dir that is not ours or too long for a unix
// socket's path is Internal.
func NewConnection(dir, id, kernelName string, t Transport) (*Connection, error) {
	if !connectionID.MatchString(id) {
		return nil, fault.New(fault.Invalid, "a kernel id has up to 128 letters, digits and _ . -")
	}
	dir, err := ownFolder(dir)
	if err != nil {
		return nil, runtimeFault(err)
	}
	folder, err := os.MkdirTemp(dir, connectionFolder) // 0700
	if err != nil {
		return nil, runtimeFault(err)
	}
	c := &Connection{
		Dir:  folder,
		File: filepath.Join(folder, connectionFile(id)),
		Info: ConnectionInfo{Transport: t, Key: randomHex(keyBytes), SignatureScheme: signatureScheme, KernelName: kernelName},
	}
	if err := c.fill(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// connectionFolder is how the names of connections' folders begin.
const connectionFolder = "k"

// connectionFile is the name of a kernel's connection file, as notebooks expect to find it.
func connectionFile(id string) string { return "kernel-" + id + ".json" }

// fill chooses the sockets and writes the file.
func (c *Connection) fill() error {
	choose := c.chooseSockets
	if c.Info.Transport == TCP {
		choose = c.holdPorts
	}
	if err := choose(); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(c.Info, "", "  ")
	if err != nil {
		return fault.Wrap(fault.Internal, err, "encode the connection file")
	}
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return runtimeFault(err)
	}
	_, err = f.Write(raw)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return runtimeFault(err)
	}
	return nil
}

// chooseSockets names five unix sockets in the folder, numbered as jupyter_client does.
func (c *Connection) chooseSockets() error {
	c.Info.IP = filepath.Join(c.Dir, "s")
	c.setPorts([channelPorts]int{1, 2, 3, 4, 5})
	if path := c.Info.IP + "-" + strconv.Itoa(channelPorts); len(path) > maxSocketPath() {
		return fault.Wrap(fault.Internal, syscall.ENAMETOOLONG,
			"the runtime folder's path is too long by %d bytes for unix sockets", len(path)-maxSocketPath())
	}
	return nil
}

// holdPorts takes five free ports of the loopback address and keeps them until Release, so that two kernels
// that start at once never choose the same ones.
func (c *Connection) holdPorts() error {
	c.Info.IP = "127.0.0.1"
	var ports [channelPorts]int
	for i := range ports {
		l, err := listenLow(c.Info.IP)
		if err != nil {
			return fault.Wrap(fault.Busy, err, "no free port for a kernel")
		}
		c.held = append(c.held, l)
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	c.setPorts(ports)
	return nil
}

const (
	// lowPort to highPort lie below the ports that Linux gives to outgoing connections (32768 and up), one of
	// which could take a kernel's port between Release and the kernel's own bind.
	lowPort, highPort = 20000, 32767
	portTries         = 64
)

// listenLow takes a free port of that range, or any one when it has no luck.
func listenLow(ip string) (net.Listener, error) {
	for range portTries {
		l, err := net.Listen("tcp4", net.JoinHostPort(ip, strconv.Itoa(lowPort+rand.IntN(highPort-lowPort))))
		if err == nil {
			return l, nil
		}
	}
	return net.Listen("tcp4", net.JoinHostPort(ip, "0"))
}

func (c *Connection) setPorts(p [channelPorts]int) {
	c.Info.ShellPort, c.Info.IOPubPort, c.Info.StdinPort, c.Info.ControlPort, c.Info.HBPort = p[0], p[1], p[2], p[3], p[4]
}

// Release lets go of the TCP ports, for the kernel to take them: to be called right before its process starts.
// Another process may still be faster; such a kernel exits early and is worth another Connection.
func (c *Connection) Release() {
	c.mu.Lock()
	held := c.held
	c.held = nil
	c.mu.Unlock()
	for _, l := range held {
		_ = l.Close()
	}
}

// Close releases the ports and removes the folder with all that is in it. Idempotent.
func (c *Connection) Close() error {
	c.Release()
	if err := os.RemoveAll(c.Dir); err != nil {
		return runtimeFault(err)
	}
	return nil
}

// runtimeFault is the fault of a failure in the runtime folder. It is never the client's: what is missing
// there is not what a client asked for.
func runtimeFault(err error) error {
	return fault.Wrap(fault.KindOf(err), err, "the server cannot write to its runtime folder")
}

// ownFolder makes dir, if needed, and gives its absolute path. In a folder of somebody else a name could be
// replaced under our hands; only a sticky one, like /tmp, is good enough.
func ownFolder(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	mine := ok && int(st.Uid) == os.Geteuid()
	shared := info.Mode().Perm()&0o022 != 0
	if (mine && !shared) || info.Mode()&os.ModeSticky != 0 {
		return dir, nil
	}
	return "", fmt.Errorf("%s belongs to, or is writable by, others", dir)
}

// maxSocketPath is the longest path a unix socket can have, from sockaddr_un without its final zero byte.
func maxSocketPath() int {
	if runtime.GOOS == "darwin" {
		return 103
	}
	return 107
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = crand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}
