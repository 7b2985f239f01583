package main

import (
	"fmt"
	"slices"
)

// contestant is what a value belongs to.
type contestant string

const (
	nbserv contestant = "nbserv"
	peer   contestant = "jupyter_server"
	direct contestant = "direct"       // a client on the kernel's own sockets, with package kernel's transport
	bare   contestant = "bare handler" // writes the same requests to a file
	copied contestant = "cp"
	zmq4   contestant = "plain zmq4" // the same with the ZeroMQ library as it is

	lab       contestant = "jupyter lab"
	inProcess contestant = "in process" // nbserv with its kernels' sockets in the server's own process
)

// columns is the table's order.
var columns = []contestant{nbserv, peer, lab, inProcess, direct, zmq4, bare, copied}

// figure is one line of the table.
type figure struct {
	id    string
	group string
	title string
	unit  string
	less  bool // less is better
	bar   bar
}

// bar is what nbserv is held to. The zero bar holds it to nothing.
type bar struct {
	text string
	met  func(f figure, median func(contestant) (float64, bool)) (met, known bool)
}

// figures is the whole table. Throughputs in MB/s count 10^6 bytes of what the user sees; memory is in KiB and MiB.
var figures = []figure{
	{"start", "start", "start, from exec to the first answer", "ms", true, atMost(100)},
	{"idle", "start", "idle, resident memory", "MiB", true, atMost(30)},

	{"rtt-synth-v1", "roundtrip", "execute round trip, synthetic kernel, v1", "ms", true, overDirect(0.3)},
	{"rtt-synth-json", "roundtrip", "execute round trip, synthetic kernel, JSON", "ms", true, overDirect(0.3)},
	{"rtt-python3-v1", "roundtrip", "execute round trip, ipykernel, v1", "ms", true, bar{}},
	{"rtt-python3-json", "roundtrip", "execute round trip, ipykernel, JSON", "ms", true, bar{}},

	{"relay-100B-rate", "relay", "relay of 100 B messages", "1/s", false, timesPeer(9)},
	{"relay-100B-cpu", "relay", "server CPU for each", "µs", true, atMost(13)},
	{"relay-100B-client", "relay", "client CPU for each", "µs", true, bar{}},
	{"relay-100KB-rate", "relay", "relay of 100 KB messages", "MB/s", false, timesPeer(1.1)},
	{"relay-100KB-cpu", "relay", "server CPU for each", "µs", true, shareOfPeer(0.5)},
	{"relay-1MB-rate", "relay", "relay of 1 MB buffers", "MB/s", false, timesPeer(1.4)},
	{"relay-1MB-cpu", "relay", "server CPU for each", "µs", true, shareOfPeer(0.6)},
	{"relay-lost", "relay", "of all these, messages lost", "", true, atMost(0)},

	{"fanout-rate", "fanout", "50 clients on one kernel, deliveries", "1/s", false, timesPeer(40)},
	{"fanout-cpu", "fanout", "server CPU for each", "µs", true, bar{}},
	{"fanout-client", "fanout", "client CPU for each", "µs", true, bar{}},

	{"unheard-memory", "journal", "300 MB printed while nobody listens, peak memory above idle", "MiB", true, atMost(16)},
	{"replay-rate", "journal", "50 MB that were, read on after a reconnect", "MB/s", false, bar{}},
	{"replay-lost", "journal", "of these, messages lost", "", true, atMost(0)},

	{"roles-start", "roles", "with a kernel host: start, from exec to the first answer", "ms", true, bar{}},
	{"roles-idle", "roles", "idle, resident memory of both processes", "MiB", true, bar{}},
	{"roles-rtt", "roles", "execute round trip, synthetic kernel, v1", "ms", true, overInProcess(0.2)},
	{"roles-rate", "roles", "relay of 100 B messages", "1/s", false, atLeastOf("≥ 60 % of in process", map[contestant]float64{inProcess: 0.6})},
	{"roles-cpu", "roles", "CPU of both processes for each", "µs", true, bar{}},
	{"roles-large", "roles", "relay of 100 KB messages", "MB/s", false, atLeastOf("≥ 60 % of in process", map[contestant]float64{inProcess: 0.6})},
	{"roles-large-cpu", "roles", "CPU of both processes for each", "µs", true, bar{}},
	{"roles-sessions", "roles", "GET /api/sessions, ten sessions", "1/s", false, atLeastOf("≥ 80 % of in process", map[contestant]float64{inProcess: 0.8})},
	{"roles-kill", "roles", "kill -9 of the server, from its next start to 50 clients reading on", "s", true, atMost(2)},

	{"rest-status", "rest", "GET /api/status", "1/s", false, bar{}},
	{"rest-sessions", "rest", "GET /api/sessions, ten sessions", "1/s", false, timesPeer(12)},
	{"rest-kernelspecs", "rest", "GET /api/kernelspecs", "1/s", false, bar{}},
	{"rest-listing", "rest", "GET /api/contents/{folder of 100 files}", "1/s", false, timesPeer(50)},

	{"directory", "directory", "a folder of 100,000 entries", "ms", true, atMost(300)},

	{"upload", "files", "50 MB upload through /api/contents", "MB/s", false, timesPeer(3)},
	{"upload-memory", "files", "peak memory above idle", "MiB", true, atMost(160)},
	{"download", "files", "50 MB download through /api/contents", "MB/s", false, timesPeer(4)},
	{"download-memory", "files", "peak memory above idle", "MiB", true, atMost(160)},

	{"store-1", "imagestore", "1 GB to the ImageStore in chunks of 8 MiB, one at a time", "MB/s", false, atLeastOf("≥ 85 % of the bare handler", map[contestant]float64{bare: 0.85})},
	{"store-1-memory", "imagestore", "peak memory above idle", "MiB", true, atMost(32)},
	{"store-8", "imagestore", "1 GB to the ImageStore in chunks of 8 MiB, eight at a time", "MB/s", false, atLeastOf("≥ 85 % of the bare handler, 55 % of cp", map[contestant]float64{bare: 0.85, copied: 0.55})},
	{"store-8-memory", "imagestore", "peak memory above idle", "MiB", true, atMost(32)},

	{"rserver-R-1", "rserver", "R Server API: a call of x + y in R, one client, median", "ms", true, overDirect(3)},
	{"rserver-R-1-p99", "rserver", "its 99th percentile", "ms", true, bar{}},
	{"rserver-R-16-rate", "rserver", "16 clients", "1/s", false, bar{}},
	{"rserver-R-16", "rserver", "their median", "ms", true, bar{}},
	{"rserver-R-16-p99", "rserver", "their 99th percentile", "ms", true, bar{}},
	{"rserver-R-session", "rserver", "a session in R, started ahead", "ms", true, atMost(50)},
	{"rserver-Python-1", "rserver", "R Server API: a call of x + y in Python, one client, median", "ms", true, overDirect(1)},
	{"rserver-Python-1-p99", "rserver", "its 99th percentile", "ms", true, bar{}},
	{"rserver-Python-16-rate", "rserver", "16 clients", "1/s", false, bar{}},
	{"rserver-Python-16", "rserver", "their median", "ms", true, bar{}},
	{"rserver-Python-16-p99", "rserver", "their 99th percentile", "ms", true, bar{}},
	{"rserver-Python-session", "rserver", "a session in Python, started ahead", "ms", true, atMost(50)},

	{"code-synth", "codeinterpreter", "code interpreter: a trivial execution, synthetic kernel", "ms", true, overDirect(1)},
	{"code-python3", "codeinterpreter", "a trivial execution, confined ipykernel", "ms", true, overDirect(1)},
	{"code-rate-1", "codeinterpreter", "executions in one session, synthetic kernel", "1/s", false, bar{}},
	{"code-rate-1-cpu", "codeinterpreter", "server CPU for each", "µs", true, bar{}},
	{"code-rate-32", "codeinterpreter", "executions in 32 sessions", "1/s", false, bar{}},
	{"code-rate-32-cpu", "codeinterpreter", "server CPU for each", "µs", true, bar{}},
	{"code-first-ready", "codeinterpreter", "first execution of a fresh identifier, with a ready session, ipykernel", "ms", true, atMost(50)},
	{"code-first", "codeinterpreter", "first execution of a fresh identifier, without", "ms", true, bar{}},

	{"sick-alone", "sick", "a healthy session's round trip, 99th percentile, alone", "ms", true, bar{}},
	{"sick-stopped", "sick", "times as long beside a stopped kernel that is sent requests", "×", true, atMost(2)},
	{"sick-spinning", "sick", "beside a kernel that computes", "×", true, atMost(2)},
	{"sick-dying", "sick", "beside kernels that start and die", "×", true, atMost(2)},
	{"sick-flooding", "sick", "beside a kernel that prints without end", "×", true, atMost(2)},
	{"sick-deaf", "sick", "beside a client that reads nothing of 200 MB", "×", true, atMost(2)},

	{"session-memory", "memory", "memory for a session with its idle kernel", "KiB", true, bar{}},
	{"websocket-memory", "memory", "memory for an idle WebSocket", "KiB", true, atMost(60)},
	{"websockets", "memory", "idle WebSockets held", "", false, atLeast(5000)},

	{"lab-cold", "lab", "JupyterLab in a browser with an empty cache, from navigation to launcher", "ms", true, timesLab(1.5)},
	{"lab-cold-files", "lab", "to the files of the folder", "ms", true, timesLab(1)},
	{"lab-cold-work", "lab", "of it, the page's own thread busy", "ms", true, bar{}},
	{"lab-cold-asking", "lab", "of it, any request under way", "ms", true, bar{}},
	{"lab-cold-requests", "lab", "requests", "", true, bar{}},
	{"lab-cold-bytes", "lab", "over the network", "MB", true, bar{}},
	{"lab-warm", "lab", "the same with a full cache", "ms", true, timesLab(1.5)},
	{"lab-warm-files", "lab", "to the files of the folder", "ms", true, timesLab(1)},
	{"lab-warm-work", "lab", "of it, the page's own thread busy", "ms", true, bar{}},
	{"lab-warm-asking", "lab", "of it, any request under way", "ms", true, bar{}},
	{"lab-warm-requests", "lab", "requests", "", true, bar{}},
	{"lab-warm-bytes", "lab", "over the network", "MB", true, bar{}},
	{"lab-kernel", "lab", "from the launcher to a notebook with an idle kernel", "ms", true, timesLab(1)},
	{"lab-run", "lab", "from Shift+Enter to the output", "ms", true, timesLab(1)},

	{"create", "first", "POST /api/sessions to its 201, ipykernel", "ms", true, bar{}},
	{"first", "first", "first python result after POST /api/sessions", "ms", true, overDirect(30)},
}

func findFigure(id string) figure {
	i := slices.IndexFunc(figures, func(f figure) bool { return f.id == id })
	if i < 0 {
		panic("bench: no figure " + id)
	}
	return figures[i]
}

func atMost(limit float64) bar {
	return bar{fmt.Sprintf("≤ %g", limit), func(_ figure, median func(contestant) (float64, bool)) (bool, bool) {
		v, ok := median(nbserv)
		return v <= limit, ok
	}}
}

func atLeast(limit float64) bar {
	return bar{fmt.Sprintf("≥ %g", limit), func(_ figure, median func(contestant) (float64, bool)) (bool, bool) {
		v, ok := median(nbserv)
		return v >= limit, ok
	}}
}

// timesPeer: nbserv is n times as good.
func timesPeer(n float64) bar {
	return bar{fmt.Sprintf("≥ %g×", n), func(f figure, median func(contestant) (float64, bool)) (bool, bool) {
		r, ok := f.ratio(median)
		return r >= n, ok
	}}
}

// timesLab: nbserv is n times as good as `jupyter lab`.
func timesLab(n float64) bar {
	return bar{fmt.Sprintf("≥ %g×", n), func(_ figure, median func(contestant) (float64, bool)) (bool, bool) {
		ours, ok := median(nbserv)
		theirs, also := median(lab)
		return n*ours <= theirs, ok && also
	}}
}

// shareOfPeer: nbserv takes at most this share of what the peer does.
func shareOfPeer(share float64) bar {
	return bar{fmt.Sprintf("≤ %g %% of the peer's", share*100), func(_ figure, median func(contestant) (float64, bool)) (bool, bool) {
		ours, ok := median(nbserv)
		theirs, also := median(peer)
		return ours <= share*theirs, ok && also
	}}
}

// atLeastOf: nbserv does at least these shares of what other contestants do.
func atLeastOf(text string, shares map[contestant]float64) bar {
	return bar{text, func(_ figure, median func(contestant) (float64, bool)) (met, known bool) {
		ours, known := median(nbserv)
		met = true
		for c, share := range shares {
			theirs, ok := median(c)
			met, known = met && ours >= share*theirs, known && ok
		}
		return met, known
	}}
}

// overDirect: nbserv adds at most this to what a direct client takes.
func overDirect(more float64) bar {
	return bar{fmt.Sprintf("≤ direct + %g", more), func(_ figure, median func(contestant) (float64, bool)) (bool, bool) {
		ours, ok := median(nbserv)
		alone, also := median(direct)
		return ours <= alone+more, ok && also
	}}
}

// overInProcess: the kernel host adds at most this.
func overInProcess(more float64) bar {
	return bar{fmt.Sprintf("≤ in process + %g", more), func(_ figure, median func(contestant) (float64, bool)) (bool, bool) {
		ours, ok := median(nbserv)
		alone, also := median(inProcess)
		return ours <= alone+more, ok && also
	}}
}

// ratio is how many times as good as the peer nbserv is; jupyter lab is the peer where it takes part.
func (f figure) ratio(median func(contestant) (float64, bool)) (float64, bool) {
	ours, ok := median(nbserv)
	theirs, also := median(peer)
	if !also {
		theirs, also = median(lab)
	}
	if f.less {
		ours, theirs = theirs, ours
	}
	if !ok || !also || theirs == 0 {
		return 0, false
	}
	return ours / theirs, true
}
