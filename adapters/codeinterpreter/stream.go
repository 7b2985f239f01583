package codeinterpreter

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// The states that kernels say of themselves.
const (
	stateIdle = "idle"
	stateBusy = "busy"
)

// belongs tells whether an entry of a kernel's journal is about the execution under a client session.
func belongs(e kernel.Entry, client string) bool {
	switch {
	case e.Gap != nil:
		return true // part of what is missing may be
	case e.Kind == kernel.Asked:
		return e.To == client
	}
	return e.Message != nil && e.Message.Parent.Session == client
}

func is(e kernel.Entry, kind string) bool {
	return e.Kind == kernel.Said && e.Message != nil && e.Message.Header.MsgType == kind
}

func isIdle(e kernel.Entry) bool {
	return is(e, "status") && e.Message.ExecutionState() == stateIdle
}

// events writes an execution as server-sent events.
// https://html.spec.whatwg.org/multipage/server-sent-events.html
type events struct {
	w     http.ResponseWriter
	flush func() error
	alive time.Duration // how often a silent one says that it is there
}

func newEvents(w http.ResponseWriter, alive time.Duration) *events {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold them back
	w.WriteHeader(http.StatusOK)
	return &events{w, http.NewResponseController(w).Flush, alive}
}

// send writes one event; id is "" for one that is no place to read on from.
func (v *events) send(kind, id string, data any) error {
	var b bytes.Buffer
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("event: " + kind + "\ndata: ")
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return err
	}
	b.WriteByte('\n') // Encode has ended the line of data
	_, err := v.w.Write(b.Bytes())
	return err
}

func (v *events) comment() error {
	if _, err := v.w.Write([]byte(": still there\n\n")); err != nil {
		return err
	}
	return v.flush()
}

// stream sends what an execution says as it says it, and in the end its resource. Ids are places in the kernel's
// journal: since is the one up to which a client has read before. The code goes on when the client goes.
func (e *execution) stream(ctx context.Context, w http.ResponseWriter, since *kernel.Position) error {
	v := newEvents(w, e.session.pool.of.cfg.KeepAlive)
	if err := v.flush(); err != nil {
		return err
	}
	if err := v.await(ctx, e.begun); err != nil {
		return err
	}
	if run, _ := e.where(); run.kernelID != "" {
		if err := v.outputs(ctx, e, since); err != nil && ctx.Err() != nil {
			return err
		}
	}
	if err := v.await(ctx, e.done); err != nil {
		return err
	}
	s, err := e.snapshot(ctx)
	if err != nil {
		_ = v.send("failed", "", errorAnswer{apiError{codeOfError(err), fault.Message(err)}})
		return v.flush()
	}
	if err := v.send("done", "", s.resource()); err != nil {
		return err
	}
	return v.flush()
}

// await waits for c, with a sign of life now and then.
func (v *events) await(ctx context.Context, c <-chan struct{}) error {
	tick := time.NewTicker(v.alive)
	defer tick.Stop()
	for {
		select {
		case <-c:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := v.comment(); err != nil {
				return err
			}
		}
	}
}

// afterEnd is how long outputs waits for the last messages of an execution that has ended: they are in the journal
// already, or were given up.
const afterEnd = 2 * time.Second

// outputs sends e's messages until the last one.
func (v *events) outputs(ctx context.Context, e *execution, since *kernel.Position) error {
	c, err := e.observed(since)
	if err != nil {
		return err // the kernel is gone; the outcome is not
	}
	defer c.Detach()
	run, _ := e.where()
	var buf [64]kernel.Entry
	for {
		if ended, end := e.hasEnded(); ended && c.Position().Seq >= end {
			return nil
		}
		n, err := v.next(ctx, e, c, buf[:])
		if err != nil {
			return err
		}
		last := false
		for _, entry := range buf[:n] {
			if !belongs(entry, run.client) {
				continue
			}
			last = last || isIdle(entry)
			if kind, data := eventOf(entry); kind != "" {
				id := kernel.Position{Epoch: c.Position().Epoch, Seq: entry.Seq}
				if err := v.send(kind, id.String(), data); err != nil {
					return err
				}
			}
		}
		if err := v.flush(); err != nil {
			return err
		}
		if last {
			return nil
		}
	}
}

func (e *execution) hasEnded() (ended bool, end uint64) {
	select {
	case <-e.done:
		_, end = e.where()
		return true, end
	default:
		return false, 0
	}
}

// next waits for entries, with a sign of life now and then, and for an execution that has ended not for long.
func (v *events) next(ctx context.Context, e *execution, c kernel.Client, buf []kernel.Entry) (int, error) {
	for {
		patience := v.alive
		ended, _ := e.hasEnded()
		if ended {
			patience = afterEnd
		}
		turn, cancel := context.WithTimeout(ctx, patience)
		n, err := c.Next(turn, buf)
		silent := turn.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !silent || ended {
			return n, err
		}
		if err := v.comment(); err != nil {
			return 0, err
		}
	}
}

// eventOf is the event that an entry is for clients, "" for none.
func eventOf(e kernel.Entry) (kind string, data any) {
	if e.Gap != nil {
		return "gap", struct {
			Missing uint64 `json:"missing"` // 0 when the number is not known
			Reason  string `json:"reason"`
		}{e.Gap.Dropped, e.Gap.Reason}
	}
	if e.Kind != kernel.Said {
		return "", nil
	}
	raw := e.Message.Parts[kernel.PartContent]
	switch e.Message.Header.MsgType {
	case "stream":
		var c struct{ Name, Text string }
		if json.Unmarshal(raw, &c) != nil || c.Name != "stderr" && c.Name != "stdout" {
			return "", nil
		}
		return c.Name, struct {
			Text string `json:"text"`
		}{c.Text}
	case "display_data", "execute_result", "update_display_data":
		var c struct {
			Data      map[string]json.RawMessage `json:"data"`
			Metadata  map[string]json.RawMessage `json:"metadata"`
			Transient json.RawMessage            `json:"transient,omitempty"`
		}
		if json.Unmarshal(raw, &c) != nil {
			return "", nil
		}
		delete(c.Data, valueType)
		return e.Message.Header.MsgType, c
	case "clear_output":
		return "clear_output", raw
	case "error":
		var c struct {
			Name      string   `json:"ename"`
			Value     string   `json:"evalue"`
			Traceback []string `json:"traceback"`
		}
		if json.Unmarshal(raw, &c) != nil {
			return "", nil
		}
		for i := range c.Traceback {
			c.Traceback[i] = adapters.PlainText(c.Traceback[i])
		}
		return "error", c
	}
	return "", nil
}
