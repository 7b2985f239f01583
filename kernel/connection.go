package kernel

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Transport is how a kernel's sockets are reached.
type Transport string

// IPC is a folder of unix sockets, which only this user can open; TCP is the loopback address.
const (
	IPC Transport = "ipc"
	TCP Transport = "tcp"
)

// signatureScheme is the one every kernel knows.
const signatureScheme = "hmac-sha256"

// ConnectionInfo is what a connection file says: where a kernel listens and with which key it signs.
// https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files
type ConnectionInfo struct {
	Transport       Transport `json:"transport"`
	IP              string    `json:"ip"` // for IPC the beginning of the sockets' paths
	ShellPort       int       `json:"shell_port"`
	IOPubPort       int       `json:"iopub_port"`
	StdinPort       int       `json:"stdin_port"`
	ControlPort     int       `json:"control_port"`
	HBPort          int       `json:"hb_port"`
	Key             string    `json:"key"`
	SignatureScheme string    `json:"signature_scheme"`
	KernelName      string    `json:"kernel_name"`
}

// Endpoint is the ZeroMQ address of a message channel.
func (c ConnectionInfo) Endpoint(ch Channel) string {
	return c.address([numChannels]int{Shell: c.ShellPort, IOPub: c.IOPubPort, Stdin: c.StdinPort, Control: c.ControlPort}[ch])
}

// Heartbeat is the ZeroMQ address of the heartbeat socket.
func (c ConnectionInfo) Heartbeat() string { return c.address(c.HBPort) }

// address joins ip and port as jupyter_client does: "tcp://ip:port" and "ipc://path-port".
func (c ConnectionInfo) address(port int) string {
	sep := ":"
	if c.Transport == IPC {
		sep = "-"
	}
	return string(c.Transport) + "://" + c.IP + sep + strconv.Itoa(port)
}

// runners are the commands after which a kernel still runs on this machine in view of our folders. Behind
// others (containers, ssh) a path means nothing, and TCP at least has a chance.
var runners = regexp.MustCompile(`^(pythonw?[0-9.]*|R|Rscript|conda|mamba|micromamba|env)$`)

// xeusKernels are kernels built on xeus-zmq: xpython, xcpp17, xr and their like.
var xeusKernels = regexp.MustCompile(`^(xeus-.*|xpython(-raw)?|xcpp[0-9]*|xc[0-9]*|xr|xlua|xsqlite|xsql|xoctave)$`)

// ipykernelWrappers are Python modules that run ipykernel's application with a kernel class of their own.
var ipykernelWrappers = regexp.MustCompile(`^([a-z0-9_]+_kernel|metakernel_[a-z0-9_]+|calysto_[a-z0-9_]+|sparkmagic\..*)$`)

// speaksIPC tells kernels that are known to serve unix sockets: ipykernel and what is built on it, IRkernel,
// xeus. deno, tslab and rapaio are known not to.
func speaksIPC(argv []string) bool {
	if len(argv) == 0 {
		return false
	}
	base := filepath.Base(argv[0])
	if xeusKernels.MatchString(base) {
		return true
	}
	if !runners.MatchString(base) {
		return false
	}
	for _, a := range argv[1:] {
		if strings.Contains(a, "ipykernel") || strings.Contains(a, "IRkernel::") {
			return true
		}
	}
	m := slices.Index(argv, "-m")
	return m >= 0 && m+1 < len(argv) && ipykernelWrappers.MatchString(argv[m+1])
}
