package faults

import (
	"context"
	wire "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"

	"github.com/nbserv/nbserv/kernel"
)

// message is a message of the default protocol, as far as it is checked.
type message struct {
	Channel string `json:"channel"`
	Header  struct {
		Type string `json:"msg_type"`
	} `json:"header"`
	Parent struct {
		ID string `json:"msg_id"`
	} `json:"parent_header"`
	Metadata struct {
		Seq *int   `json:"seq"`             // of a flood
		At  string `json:"nbserv_position"` // in the kernel's journal: EPOCH:SEQ
		Own *struct {
			Gap *struct {
				Dropped int `json:"dropped"`
			} `json:"gap"`
		} `json:"nbserv"`
	} `json:"metadata"`
	Content struct {
		State  string `json:"execution_state"`
		Status string `json:"status"`
		Text   string `json:"text"`
		EValue string `json:"evalue"`
	} `json:"content"`
}

// page is a client of one kernel that keeps its session over every connection, as JupyterLab does.
type page struct {
	p       *plant
	kernel  string
	session string
	conn    *websocket.Conn
	gaps    int // notices seen
	redials int
	// again is set by a new connection: what a dead server had handed on, and could not say so, comes once more. It ends
	// with the first message that is new.
	again bool
	last  kernel.Position // of the newest message

	outputs int // numbered ones of all executions, those that came again not among them
}

func newPage(p *plant, kernelID string) *page {
	return &page{p: p, kernel: kernelID, session: uuid.NewString()}
}

var errTooLong = errors.New("it took too long")

// connect dials until somebody answers. 404 is an error: a browser takes it for the kernel's end.
func (g *page) connect(ctx context.Context) error {
	for end := time.Now().Add(patience); ; {
		url := "ws://" + g.p.addr + "/api/kernels/" + g.kernel + "/channels?positions=1&session_id=" + g.session
		conn, res, err := websocket.DefaultDialer.DialContext(ctx, url, http.Header{"Authorization": {"token " + token}})
		switch {
		case err == nil:
			g.conn, g.again = conn, true
			return nil
		case res != nil && res.StatusCode == http.StatusNotFound:
			return fmt.Errorf("kernel %s is not there", g.kernel)
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return errTooLong
		}
		select {
		case <-time.After(5 * time.Millisecond): // a browser waits longer
		case <-ctx.Done():
		}
	}
}

func (g *page) close() {
	if g.conn != nil {
		_ = g.conn.Close()
		g.conn = nil
	}
}

// send writes a request; a connection that breaks is no error, for who reads will see.
func (g *page) send(id, kind string, content map[string]any) {
	_ = g.conn.WriteJSON(map[string]any{
		"channel": "shell", "metadata": map[string]any{}, "parent_header": map[string]any{}, "content": content,
		"header": map[string]any{"msg_id": id, "msg_type": kind, "session": g.session, "username": "", "version": "5.4", "date": ""},
	})
}

// next reads a message. ok is false when the connection broke.
func (g *page) next() (m message, ok bool, err error) {
	_ = g.conn.SetReadDeadline(time.Now().Add(patience))
	kind, raw, err := g.conn.ReadMessage()
	if err != nil {
		if strings.Contains(err.Error(), "timeout") {
			return m, false, errTooLong
		}
		return m, false, nil
	}
	if kind == websocket.BinaryMessage { // a number of parts, where each begins, the parts: the first is the message
		raw = raw[wire.BigEndian.Uint32(raw[4:]):wire.BigEndian.Uint32(raw[8:])]
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, false, err
	}
	if m.Metadata.Own != nil && m.Metadata.Own.Gap != nil {
		g.gaps++
		return m, true, nil // it stands where the last message before it does
	}
	return m, true, g.order(m)
}

// order checks that messages come by the order of the journal (P5). Those that come once more are marked as old.
func (g *page) order(m message) error {
	at, err := kernel.ParsePosition(m.Metadata.At)
	if err != nil {
		return fmt.Errorf("a %s without its position: %w", m.Header.Type, err)
	}
	switch {
	case at.Epoch != g.last.Epoch && g.last != (kernel.Position{}):
		return fmt.Errorf("a journal begins anew: %v after %v", at, g.last)
	case at.Seq > g.last.Seq:
		g.again, g.last = false, at
		if m.Metadata.Seq != nil {
			g.outputs++
		}
	case !g.again:
		return fmt.Errorf("a %s at %v after %v", m.Header.Type, at, g.last)
	}
	return nil
}

// outcome is what a page saw of one execution.
type outcome struct {
	begun   bool
	seqs    []int // of its outputs
	marked  bool  // a notice came after the last of them
	gaps    int   // notices
	broken  error // the first promise that was
	status  string
	evalue  string // of an error output
	replied bool
	idle    bool
}

// run executes code and reads until its reply and its idle status have come, over as many connections as it takes. A
// request that was lost with a connection is sent again.
func (g *page) run(ctx context.Context, code string) (o outcome, err error) {
	id, probe := "", ""
	ask := func() {
		id, o = uuid.NewString(), outcome{}
		g.send(id, "execute_request", map[string]any{"code": code, "silent": false, "store_history": false, "allow_stdin": false, "stop_on_error": false})
	}
	if g.conn == nil {
		if err := g.connect(ctx); err != nil {
			return o, err
		}
	}
	ask()
	for !o.replied || !o.idle {
		gaps := g.gaps
		m, ok, err := g.next()
		if err != nil || ctx.Err() != nil {
			return o, fmt.Errorf("%w; begun: %t, outputs: %d, notices: %d, reply: %q, idle: %t, at %v",
				errors.Join(err, ctx.Err()), o.begun, len(o.seqs), o.gaps, o.status, o.idle, g.last)
		}
		if g.gaps > gaps {
			o.gaps, o.marked = o.gaps+1, true
		}
		if !ok {
			g.close()
			g.redials++
			if err := g.connect(ctx); err != nil {
				return o, err
			}
			// The kernel works in order: once it is done with this, it has what came before, or never got it.
			probe = g.ping()
			continue
		}
		idle := m.Header.Type == "status" && m.Content.State == "idle"
		switch {
		case m.Parent.ID == id:
			g.take(&o, m, idle)
		case m.Parent.ID == probe && idle && !o.begun:
			ask()
		}
	}
	return o, nil
}

// ping asks for what any kernel answers.
func (g *page) ping() (id string) {
	id = uuid.NewString()
	g.send(id, "kernel_info_request", map[string]any{})
	return id
}

func (g *page) take(o *outcome, m message, idle bool) {
	o.begun = true
	switch {
	case m.Metadata.Seq != nil && !g.again:
		o.output(*m.Metadata.Seq)
	case m.Header.Type == "execute_reply":
		o.replied, o.status = true, m.Content.Status
	case m.Header.Type == "error":
		o.evalue = m.Content.EValue
	case idle:
		o.idle = true
	}
}

// output notes a numbered output.
func (o *outcome) output(seq int) {
	want := 0
	if n := len(o.seqs); n > 0 {
		want = o.seqs[n-1] + 1
	}
	if (seq < want || seq > want && !o.marked) && o.broken == nil {
		o.broken = fmt.Errorf("output %d came for %d, and no notice before it", seq, want)
	}
	o.seqs, o.marked = append(o.seqs, seq), false
}

// whole checks that of n numbered outputs none is missing, twice or out of order, unless a gap notice came where it is (P4).
func (o *outcome) whole(n int) error {
	if o.broken != nil {
		return o.broken
	}
	if o.gaps == 0 && len(o.seqs) != n {
		return fmt.Errorf("%d of %d outputs came, and no notice said so", len(o.seqs), n)
	}
	return nil
}
