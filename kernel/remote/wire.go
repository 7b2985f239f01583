package remote

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// protocol is the version that this package speaks.
const protocol = 1

// The requests of protocol 1. helloPath is the same in all versions.
const (
	helloPath     = "/hello"
	configPath    = "/v1/config"
	watchPath     = "/v1/watch"
	clientPath    = "/v1/client"
	startPath     = "/v1/start"
	interruptPath = "/v1/interrupt"
	restartPath   = "/v1/restart"
	shutdownPath  = "/v1/shutdown"
	readyPath     = "/v1/ready"
	usagePath     = "/v1/usage"
	stopPath      = "/v1/stop"
	metricsPath   = "/v1/metrics"
)

// upgradeName is the protocol that streams ask for. RFC 9110 section 7.8.
const upgradeName = "nbserv-kernels"

// maxCallBytes bounds the body of a call: a kernel's environment, or a server's.
const maxCallBytes = 8 << 20

// Hello is what a kernel host says of itself to whoever asks, in every version.
type Hello struct {
	Protocols []int  `json:"protocols"`
	Version   string `json:"version"`  // of the program
	Instance  string `json:"instance"` // another one for each process
	PID       int    `json:"pid"`
}

func (h Hello) speaks(version int) bool { return slices.Contains(h.Protocols, version) }

// Stop is what a server says to a kernel host that is to end.
type Stop struct {
	// Timeout is how long its kernels may take to end before they are killed, in nanoseconds.
	Timeout int64 `json:"timeout"`
}

// answer is what a call gives: the kernel as it is then, or why not.
type answer struct {
	Status *kernel.Status `json:"status,omitempty"`
	Notes  []string       `json:"notes,omitempty"` // of a configuration
	Usage  *kernel.Usage  `json:"usage,omitempty"`
	Fault  *wireFault     `json:"fault,omitempty"`
}

// attached is the first that a client's stream says.
type attached struct {
	Position kernel.Position `json:"position"`
	Status   *kernel.Status  `json:"status"`
}

// wireFault is an error on its way: its kind by name, for numbers may differ from version to version, and the words
// that clients may read. The rest stays in the kernel host's log.
type wireFault struct {
	Kind string `json:"kind"`
	Msg  string `json:"msg"`
}

// takenOver is the wireFault.Kind of kernel.ErrTakenOver.
const takenOver = "taken over"

var kindNames = map[fault.Kind]string{
	fault.Internal:        "internal",
	fault.Invalid:         "invalid",
	fault.Unauthenticated: "unauthenticated",
	fault.Forbidden:       "forbidden",
	fault.NotFound:        "not found",
	fault.NotAllowed:      "not allowed",
	fault.Gone:            "gone",
	fault.Conflict:        "conflict",
	fault.TooLarge:        "too large",
	fault.RangeInvalid:    "range invalid",
	fault.TooMany:         "too many",
	fault.Unstartable:     "unstartable",
	fault.Busy:            "busy",
	fault.Timeout:         "timeout",
	fault.NoSpace:         "no space",
	fault.Canceled:        "canceled",
}

func newWireFault(err error) *wireFault {
	if errors.Is(err, kernel.ErrTakenOver) {
		return &wireFault{Kind: takenOver}
	}
	return &wireFault{Kind: kindNames[fault.KindOf(err)], Msg: fault.Message(err)}
}

// err is the error that f was made of, as far as others may know. A kind of another version is Internal.
func (f wireFault) err() error {
	if f.Kind == takenOver {
		return kernel.ErrTakenOver
	}
	for k, name := range kindNames {
		if name == f.Kind {
			return fault.New(k, "%s", f.Msg)
		}
	}
	return fault.New(fault.Internal, "%s: %s", f.Kind, f.Msg)
}

// reply writes what a call gives.
func reply(w http.ResponseWriter, a answer) {
	code := http.StatusOK
	if a.Fault != nil {
		code = httpx.Status(fault.KindOf(a.Fault.err()))
	}
	_ = httpx.WriteJSON(w, code, a) // a server that has gone needs no answer
}

// failed writes err as what a call gives.
func failed(w http.ResponseWriter, err error) { reply(w, answer{Fault: newWireFault(err)}) }

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("remote: cannot encode a frame: " + err.Error())
	}
	return b
}
