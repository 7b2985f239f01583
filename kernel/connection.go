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

// ipykernelWrappers are Python modules that run ipykernel's application with a kernel class of their own.
var ipykernelWrappers = regexp.MustCompile(`^([a-z0-9_]+_kernel|metakernel_[a-z0-9_]+|calysto_[a-z0-9_]+|sparkmagic\..*)$`)

// speaksIPC tells kernels that are known to serve unix sockets well: ipykernel and what is built on it, and
// IRkernel. deno, tslab and rapaio do not; xeus-python 0.19 ends at its start ("Invalid argument") when its
// sockets are connected to as soon as they are there.
func speaksIPC(argv []string) bool {
	if len(argv) == 0 {
		return false
	}
	if !runners.MatchString(filepath.Base(argv[0])) {
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

// diesOfSIGINT tells kernels that end when they get SIGINT, and stop what they do when they get an
// interrupt_request, although their kernelspecs ask for no mode: deno.
func diesOfSIGINT(argv []string) bool {
	return len(argv) > 1 && filepath.Base(argv[0]) == "deno" && argv[1] == "jupyter"
}
