package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1048576": 1 << 20, "512M": 512 << 20, "512 MiB": 512 << 20, "1.5g": 3 << 29, "2GB": 2e9, "10kb": 1e4,
		"7B": 7, " 4K ": 4096, "1T": 1 << 40, "9223372036854775807": 1<<63 - 1,
	} {
		n, err := ParseBytes(text)
		require.NoError(t, err, text)
		require.Equal(t, want, n, text)
	}
	for _, text := range []string{"", "M", "-1", "-1M", "NaN", "inf", "1e30G", "12 parsecs", "0x10"} {
		_, err := ParseBytes(text)
		require.Error(t, err, text)
	}
}

func TestLimitsOfKernelspecs(t *testing.T) {
	l, err := Spec{Metadata: []byte(`{"nbserv": {"limits": {"memory": "2GiB", "cpus": 1.5, "processes": 200}}}`)}.Limits()
	require.NoError(t, err)
	require.Equal(t, Limits{MemoryBytes: 2 << 30, CPUs: 1.5, Processes: 200}, l)
	l, err = Spec{Metadata: []byte(`{"nbserv": {"limits": {"memory": 4194304}}}`)}.Limits()
	require.NoError(t, err)
	require.Equal(t, Limits{MemoryBytes: 4 << 20}, l)
	for _, wrong := range []string{
		`{"nbserv": {"limits": {"memory": true}}}`, `{"nbserv": {"limits": {"memory": 12}}}`, `{"nbserv": {"limits": []}}`,
		`{"nbserv": {"limits": {"cpus": -1}}}`, `{"nbserv": {"limits": {"processes": 1.5}}}`, `{"nbserv": {"limits": {"memory": "lots"}}}`,
	} {
		_, err := parseSpec("x", "/x", []byte(`{"argv": ["x"], "metadata": `+wrong+`}`))
		require.ErrorContains(t, err, "metadata: ", wrong)
	}
}

// What a start leaves open its kernelspec decides, then the configuration.
func TestLimitsByRank(t *testing.T) {
	k := &Kernel{start: StartOptions{Limits: Limits{CPUs: 1}}, cfg: &Config{Limits: Limits{MemoryBytes: 8 << 30, CPUs: 4, Processes: 9}}}
	l, err := k.limits(Spec{Metadata: []byte(`{"nbserv": {"limits": {"memory": "2G", "cpus": 3}}}`)})
	require.NoError(t, err)
	require.Equal(t, Limits{MemoryBytes: 2 << 30, CPUs: 1, Processes: 9}, l)
}

func TestLimitsThatMakeNoSense(t *testing.T) {
	for _, l := range []Limits{{MemoryBytes: -1}, {MemoryBytes: 2048}, {CPUs: -0.5}, {CPUs: 0.001}, {CPUs: 1e9}, {Processes: -1}} {
		require.Equal(t, fault.Invalid, fault.KindOf(l.Validate()), "%+v", l)
	}
	require.NoError(t, Limits{}.Validate())
	require.ErrorContains(t, Config{Limits: Limits{Processes: -1}}.Validate(), "--kernel-max-processes")
	require.ErrorContains(t, Config{Journal: JournalLimits{MaxBytes: 10, KeepBytes: 11}}.Validate(), "KeepBytes")
	require.NoError(t, Config{Journal: JournalLimits{MaxBytes: 11, KeepBytes: 11}}.Validate())
}

// metered is a Process that uses what it is told.
type metered struct {
	Process
	limit Enforced
	usage Usage
	kills uint64
	done  chan struct{}
}

func (p *metered) Record() Record       { return Record{PID: 4711, Enforced: p.limit} }
func (p *metered) Usage() (Usage, bool) { return p.usage, true }

func (p *metered) Memory() (int64, uint64, bool) {
	return p.usage.MemoryBytes, p.kills, p.limit.MemoryBytes > 0
}

func (p *metered) Done() <-chan struct{} { return p.done }

// A warning comes once, in the running cell, and again only after the memory was given back. A process that the
// system has ended is told of, each time.
func TestMemoryWarningComesOnce(t *testing.T) {
	m := NewManager(Config{}, NewSpecs(SpecsConfig{}), nil, nil)
	k := newKernel(m, StartOptions{ID: "k"}, 1)
	p := &metered{limit: Enforced{Limits: Limits{MemoryBytes: 100 << 20}, MemoryBy: byCgroup}}
	k.inc = &incarnation{proc: p}
	c, err := k.attach(AttachOptions{})
	require.NoError(t, err)
	k.open.add(compose(Shell, "s", executeRequest, nil, struct{}{}), "s")
	cell := k.open.all()[0]
	cell.busy = true
	look := func(used int64, kills uint64) (said string) {
		p.usage.MemoryBytes, p.kills = used<<20, kills
		k.checkMemory()
		mark := k.journal.Position()
		k.journal.Append("", status(k.voice, stateIdle, nil))
		buf := make([]Entry, 1)
		for {
			_, err := c.Next(t.Context(), buf)
			require.NoError(t, err)
			if buf[0].Seq > mark.Seq {
				return said
			}
			require.Equal(t, cell.id, buf[0].Message.Parent.MsgID)
			require.Equal(t, "stream", buf[0].Message.Header.MsgType)
			said += string(buf[0].Message.Parts[PartContent])
		}
	}
	require.Empty(t, look(89, 0))
	require.Contains(t, look(90, 0), "nbserv: this kernel uses 90 MiB of the 100 MiB of memory that it may have. If it needs more, it is ended")
	require.Empty(t, look(99, 0))
	require.Empty(t, look(76, 0))
	require.Empty(t, look(95, 0), "it has given back too little to be warned again")
	require.Empty(t, look(74, 0))
	require.Contains(t, look(91, 0), "91 MiB")
	require.Empty(t, look(50, 1), "it may be the kernel itself that was ended: that is told elsewhere")
	require.Contains(t, look(50, 1), "out of memory: the system has ended a process of this kernel")
	require.Empty(t, look(50, 1))
	p.limit.MemoryBytes = 0
	require.Empty(t, look(5000, 0))
}
