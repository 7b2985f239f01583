package kernel

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// Limits bound what one kernel may use, together with all that it starts. A zero field is no limit of its own:
// what StartOptions leave open the kernelspec decides, then Config.
type Limits struct {
	MemoryBytes int64   `json:"memory_bytes,omitempty"`
	CPUs        float64 `json:"cpus,omitempty"` // of one processor's time: 1.5 is one and a half
	Processes   int     `json:"processes,omitempty"`
}

// Enforced are the limits that are in force for a process, which may be fewer than were asked for.
type Enforced struct {
	Limits
	// MemoryBy says how MemoryBytes is kept. "cgroup" is for all processes together, and ends one that asks for
	// more; "rlimit" is for each by itself, counts what it has reserved to write to, and has allocating fail.
	MemoryBy string `json:"memory_by,omitempty"`
}

const (
	byCgroup = "cgroup"
	byRlimit = "rlimit"
)

// Usage is what a process tree uses.
type Usage struct {
	PID         int           // of the kernel's own process; 0 when there is none
	MemoryBytes int64         // as it counts towards its limit
	CPU         time.Duration // processor time so far; 0 where nobody counts it
	Processes   int           // threads included; 0 where nobody counts them
}

// String is for people: "200 MiB of memory, 1.5 processors".
func (l Limits) String() string {
	var s []string
	if l.MemoryBytes > 0 {
		s = append(s, formatBytes(l.MemoryBytes)+" of memory")
	}
	if l.CPUs > 0 {
		s = append(s, strconv.FormatFloat(l.CPUs, 'g', 4, 64)+" processors")
	}
	if l.Processes > 0 {
		s = append(s, strconv.Itoa(l.Processes)+" processes")
	}
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ", ")
}

const (
	// minMemoryLimit is less than any interpreter needs to start: who asks for less has mistaken the unit.
	minMemoryLimit = 1 << 20
	// minCPULimit is the least that Linux takes for a group: 1 ms of every 100 ms.
	minCPULimit = 0.01
	maxCPULimit = 1 << 16
)

// Validate reports the first limit that makes no sense, as Invalid.
func (l Limits) Validate() error {
	switch {
	case l.MemoryBytes != 0 && l.MemoryBytes < minMemoryLimit:
		return fault.New(fault.Invalid, "a kernel's memory limit of %d bytes is less than any kernel needs", l.MemoryBytes)
	case l.CPUs != 0 && !(l.CPUs >= minCPULimit && l.CPUs <= maxCPULimit):
		return fault.New(fault.Invalid, "a kernel's CPU limit of %v is not between %v and %v processors", l.CPUs, minCPULimit, maxCPULimit)
	case l.Processes < 0 || l.Processes == 1:
		return fault.New(fault.Invalid, "a kernel's limit of %d processes and threads is less than any kernel needs", l.Processes)
	}
	return nil
}

// or fills what l leaves open from m.
func (l Limits) or(m Limits) Limits {
	if l.MemoryBytes == 0 {
		l.MemoryBytes = m.MemoryBytes
	}
	if l.CPUs == 0 {
		l.CPUs = m.CPUs
	}
	if l.Processes == 0 {
		l.Processes = m.Processes
	}
	return l
}

// Limits are what the kernelspec's metadata say of its kernels:
// {"nbserv": {"limits": {"memory": "2GiB" or bytes, "cpus": 1.5, "processes": 200}}}.
func (s Spec) Limits() (Limits, error) {
	var m struct {
		Nbserv struct {
			Limits struct {
				Memory    json.RawMessage `json:"memory"`
				CPUs      float64         `json:"cpus"`
				Processes int             `json:"processes"`
			} `json:"limits"`
		} `json:"nbserv"`
	}
	if err := json.Unmarshal(s.Metadata, &m); err != nil {
		return Limits{}, fmt.Errorf("metadata: nbserv: %w", err)
	}
	said := m.Nbserv.Limits
	l := Limits{CPUs: said.CPUs, Processes: said.Processes}
	if !isNull(said.Memory) {
		var err error
		if l.MemoryBytes, err = ParseBytes(strings.Trim(string(said.Memory), `"`)); err != nil {
			return Limits{}, fmt.Errorf("metadata: nbserv: limits: memory: %w", err)
		}
	}
	if err := l.Validate(); err != nil {
		return Limits{}, fmt.Errorf("metadata: nbserv: %w", err)
	}
	return l, nil
}

// byteUnits are the suffixes of ParseBytes, the longer ones first. As in most tools, K is 1024 and KB is 1000.
var byteUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"B", 1},
}

// formatBytes writes a number of bytes for people: 200 MiB, 1.5 GiB.
func formatBytes(n int64) string {
	v, unit := float64(n), "bytes"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) + " " + unit
}

// ParseBytes reads a number of bytes: 1048576, 512M, 1.5GiB, 2GB. It does not take negative ones.
func ParseBytes(text string) (int64, error) {
	number, unit := strings.ToUpper(strings.TrimSpace(text)), 1.0
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n >= 0 {
		return n, nil
	}
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0 && n*unit < 1<<62) {
		return 0, fmt.Errorf("%.64q is no number of bytes such as 1048576, 512M or 1.5GiB", text)
	}
	return int64(n * unit), nil
}

// limits are what k's start, its kernelspec and the configuration say, in this order.
func (k *Kernel) limits(spec Spec) (Limits, error) {
	said, err := spec.Limits()
	if err != nil {
		return Limits{}, fault.Wrap(fault.Unstartable, err, "kernelspec %s cannot start: its limits are not understood", spec.Name)
	}
	return k.start.Limits.or(said).or(k.cfg.Limits), nil
}

// enforced are the limits of k's process. mu is held.
func (k *Kernel) enforced() Enforced {
	if k.inc == nil {
		return Enforced{}
	}
	return k.inc.proc.Record().Enforced
}
