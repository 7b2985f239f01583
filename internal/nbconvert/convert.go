package nbconvert

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

//go:embed convert.py
var script string

const (
	// maxOutput bounds what a conversion may give, in bytes.
	maxOutput = 1 << 30
	// maxAtOnce is how many children run at a time; each takes a processor and 100 MB and more.
	maxAtOnce = 2
	// keptLog is how much of a child's own words goes to the log.
	keptLog = 8 << 10
	// endWait is how long a child that was told to end may take to let go of its pipes.
	endWait = time.Second
	// idleNice is the priority of a child whose answer nobody waits for: where everything is busy it has a third of what
	// others have. With less it might never end there.
	idleNice = 5
)

// Config says how conversions are run.
type Config struct {
	// Python is asked, for each conversion, for the programs to try, best first. The first that has nbconvert is used.
	Python func() []string
	// Environ is the environment of the child ("NAME=value"), without the server's secrets.
	Environ []string
	// ConfigDir is Jupyter's configuration folder.
	ConfigDir string
	// Browser prints PDFs. "": the first Chromium, Chrome or Edge that is found, where there is no TeX.
	Browser string
	// BrowserArgs are further arguments for it.
	BrowserArgs []string
	// Timeout ends a conversion that takes longer.
	Timeout time.Duration
	// NoSandbox leaves the sandbox out of the content security policy of answers: pages made from notebooks may
	// then act as their user. As nbconvert_csp_sandbox of jupyter_server, but the other way round.
	NoSandbox bool
	Logger    *slog.Logger
}

// Converter runs conversions. Safe for concurrent use.
type Converter struct {
	cfg     Config        // immutable
	room    chan struct{} // one token for each child that may run
	listing chan struct{} // one token: held while the formats are asked for

	mu     sync.Mutex
	known  string  // guarded by mu: the Python that had nbconvert last
	listed listing // guarded by mu
}

// New makes a Converter.
func New(cfg Config) *Converter {
	return &Converter{cfg: cfg, room: make(chan struct{}, maxAtOnce), listing: make(chan struct{}, 1)}
}

// request is what the child is asked.
type request struct {
	Do        string          `json:"do"` // "list" or "convert"
	Format    string          `json:"format,omitempty"`
	Notebook  json.RawMessage `json:"notebook,omitempty"`
	Metadata  metadata        `json:"metadata"`
	ConfigDir string          `json:"config_dir"`
	Sanitize  *bool           `json:"sanitize,omitempty"`

	Browser     string   `json:"browser,omitempty"`
	BrowserArgs []string `json:"browser_args,omitempty"`
}

// metadata are the resources that templates know of the notebook.
type metadata struct {
	Name string `json:"name"`
	Path string `json:"path,omitempty"` // of its folder on this machine: attachments are found there
	Date string `json:"modified_date,omitempty"`
}

// answer is the first line of what the child says.
type answer struct {
	Error     string            `json:"error"`
	Message   string            `json:"message"`
	Formats   map[string]format `json:"formats"`
	Folders   map[string]int64  `json:"folders"` // where this Python's packages are: when each changed, in Unix nanoseconds
	Mimetype  string            `json:"mimetype"`
	Extension string            `json:"extension"`
	Zip       bool              `json:"zip"`
	body      []byte
}

type format struct {
	Mimetype *string `json:"output_mimetype"`
}

// run asks one child after the other until one has nbconvert. Faults: Unstartable without one, or when the conversion
// fails for a reason a user can mend; NotFound for an unknown format; Timeout.
func (c *Converter) run(ctx context.Context, r request) (*answer, error) {
	select {
	case c.room <- struct{}{}:
		defer func() { <-c.room }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.ConfigDir, r.Browser, r.BrowserArgs = c.cfg.ConfigDir, c.cfg.Browser, c.cfg.BrowserArgs
	in, err := json.Marshal(r)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the notebook is not JSON")
	}
	for _, python := range c.pythons() {
		a, err := c.ask(ctx, python, in, r.Do == "list")
		switch {
		case err != nil:
			return nil, err
		case a == nil, a.Error == "nbconvert":
			continue
		case a.Error == "format":
			return nil, fault.New(fault.NotFound, "No exporter for format: %s", r.Format)
		case a.Error != "":
			return nil, fault.New(fault.Unstartable, "nbconvert failed: %s", a.Message)
		}
		c.mu.Lock()
		c.known = python
		c.mu.Unlock()
		return a, nil
	}
	return nil, fault.New(fault.Unstartable, "nbconvert is not installed: pip install nbconvert where the Python kernel is")
}

// pythons are the programs to try.
func (c *Converter) pythons() []string {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	all := c.cfg.Python()
	for i, p := range all {
		if p == known && i > 0 {
			return append([]string{known}, all...)
		}
	}
	return all
}

// ask runs one child, an idle one beside everything else; nil without an error is a Python that cannot be run.
func (c *Converter) ask(ctx context.Context, python string, in []byte, idle bool) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	scratch, err := os.MkdirTemp("", "nbserv-nbconvert-")
	if err != nil {
		return nil, fault.Wrap(fault.NoSpace, err, "there is no room for temporary files")
	}
	defer os.RemoveAll(scratch) // also what a child leaves behind that was ended
	out, words := &bounded{max: maxOutput}, &bounded{max: keptLog, drop: true}
	cmd := exec.CommandContext(ctx, python, "-c", script)
	cmd.Env = append(slices.Clone(c.cfg.Environ), "TMPDIR="+scratch)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), out, words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it may have started a TeX or a browser
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = endWait
	err = cmd.Start()
	if err == nil {
		if idle {
			_ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, idleNice) // else it is only not idle
		}
		err = cmd.Wait()
	}
	line, body, ok := bytes.Cut(out.buf.Bytes(), []byte("\n"))
	var a answer
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return nil, fault.New(fault.Timeout, "the conversion took longer than %s", c.cfg.Timeout)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out.full:
		return nil, fault.New(fault.TooLarge, "the conversion gives more than %d bytes", maxOutput)
	case errors.Is(err, exec.ErrNotFound):
		return nil, nil
	case !ok || json.Unmarshal(line, &a) != nil:
		c.cfg.Logger.Warn("nbconvert gave no answer", "err", err, "stderr", words.buf.String())
		if err != nil && words.buf.Len() == 0 {
			return nil, nil // it did not run
		}
		return nil, fault.New(fault.Unstartable, "nbconvert failed: it ended without an answer")
	case a.Error == "failed":
		c.cfg.Logger.Warn("nbconvert failed", "stderr", words.buf.String())
	}
	a.body = body
	return &a, nil
}

// bounded keeps the first max bytes written to it; more is dropped, or an error.
type bounded struct {
	buf  bytes.Buffer
	max  int
	drop bool
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.max - b.buf.Len()
	if len(p) <= room {
		return b.buf.Write(p)
	}
	if b.full = true; !b.drop {
		return 0, io.ErrShortBuffer
	}
	b.buf.Write(p[:room])
	return len(p), nil
}
