package kerneltest

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/nbserv/nbserv/kernel"
)

var (
	emptyObject = json.RawMessage(`{}`)
	busy        = json.RawMessage(`{"execution_state":"busy"}`)
	idle        = json.RawMessage(`{"execution_state":"idle"}`)
)

// Request is one message on shell or control that the kernel works on. Its methods are for the goroutine
// that runs the Script, and what they send is on its way when they return.
type Request struct {
	*kernel.Message
	Type string // the message's type

	// immutable
	k       *Kernel
	from    *peer
	execute executeContent
	done    chan struct{}
	once    sync.Once // closes done

	// owned by the worker
	count   int  // the execution count
	replied bool // or nothing shall be
	idled   bool // or nothing shall be
}

// executeContent is what an execute_request asks.
// https://jupyter-client.readthedocs.io/en/stable/messaging.html#execute
type executeContent struct {
	Code         string `json:"code"`
	Silent       bool   `json:"silent"`
	StoreHistory *bool  `json:"store_history"`
	AllowStdin   *bool  `json:"allow_stdin"`
	StopOnError  *bool  `json:"stop_on_error"`
}

// What the kernel says most often, as structs because they marshal several times faster than maps.
type (
	stream struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	executeInput struct {
		Code  string `json:"code"`
		Count int    `json:"execution_count"`
	}
	executeResult struct {
		Data     map[string]string `json:"data"`
		Metadata json.RawMessage   `json:"metadata"`
		Count    int               `json:"execution_count"`
	}
	executeReply struct {
		Status          string          `json:"status"`
		Count           int             `json:"execution_count"`
		UserExpressions json.RawMessage `json:"user_expressions"`
		Payload         []string        `json:"payload"`
	}
)

func (e executeContent) counts() bool      { return !e.Silent && (e.StoreHistory == nil || *e.StoreHistory) }
func (e executeContent) allowsStdin() bool { return e.AllowStdin == nil || *e.AllowStdin }
func (e executeContent) stopsOnError() bool {
	return !e.Silent && (e.StopOnError == nil || *e.StopOnError)
}

func newRequest(k *Kernel, from *peer, m *kernel.Message) *Request {
	r := &Request{Message: m, Type: m.Header.MsgType, k: k, from: from, done: make(chan struct{})}
	if r.Type == "execute_request" {
		// A content of the wrong shape is an empty cell.
		_ = json.Unmarshal(m.Parts[kernel.PartContent], &r.execute)
	}
	return r
}

// run lets the script answer and sends what it left out.
func (r *Request) run() {
	if r.Type == "execute_request" {
		r.begin()
	}
	if r.k.opts.Script != nil {
		r.k.opts.Script(r)
	} else {
		r.Default()
	}
	if r.replied {
		return
	}
	switch {
	case r.Type != "execute_request":
	case r.interrupted():
		r.Error("KeyboardInterrupt", "")
	default:
		r.OK()
	}
}

// begin counts an execution and shows its code to all clients.
func (r *Request) begin() {
	r.k.mu.Lock()
	if r.execute.counts() {
		r.k.executions++
	}
	r.count = r.k.executions
	r.k.mu.Unlock()
	if !r.execute.Silent {
		r.Publish("execute_input", executeInput{Code: r.execute.Code, Count: r.count})
	}
}

// Code is the code of an execute_request.
func (r *Request) Code() string { return r.execute.Code }

// Count is the execution count.
func (r *Request) Count() int { return r.count }

// Done is closed when the request shall end: it was interrupted, or the kernel ends.
func (r *Request) Done() <-chan struct{} { return r.done }

func (r *Request) interrupt() { r.once.Do(func() { close(r.done) }) }

func (r *Request) interrupted() bool {
	select {
	case <-r.done:
		return true
	case <-r.k.ending:
		return true
	default:
		return false
	}
}

// Sleep waits and reports whether it may go on; false means that the request was interrupted.
func (r *Request) Sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.done:
	case <-r.k.ending:
	}
	return false
}

// Publish sends a message on iopub. content is a json.RawMessage or anything that marshals.
func (r *Request) Publish(msgType string, content any) {
	r.k.send(nil, r.message(kernel.IOPub, msgType, content))
}

// PublishBuffers is Publish with metadata and binary buffers, whose bytes must not change afterwards.
func (r *Request) PublishBuffers(msgType string, content, metadata any, buffers ...[]byte) {
	m := r.message(kernel.IOPub, msgType, content)
	m.Parts[kernel.PartMetadata] = toJSON(metadata)
	m.Buffers = buffers
	r.k.send(nil, m)
}

// Stream prints on stdout or stderr.
func (r *Request) Stream(name, text string) {
	r.Publish("stream", stream{Name: name, Text: text})
}

// Display shows a MIME bundle.
func (r *Request) Display(data map[string]any) {
	r.Publish("display_data", map[string]any{"data": data, "metadata": emptyObject, "transient": emptyObject})
}

// Result shows the value of an execution, unless it is silent.
func (r *Request) Result(text string) {
	if r.execute.Silent {
		return
	}
	r.Publish("execute_result", executeResult{
		Data: map[string]string{"text/plain": text}, Metadata: emptyObject, Count: r.count,
	})
}

// Reply answers on the channel the request came on; only the first reply is sent.
func (r *Request) Reply(content any) {
	if r.replied {
		return
	}
	r.replied = true
	name := strings.TrimSuffix(r.Type, "_request") + "_reply"
	// To whoever has the identity now, as a ROUTER does: a client that came back, or nobody.
	to := r.from
	if to.identity != "" {
		to = r.k.sockets[r.Channel.String()].peer(to.identity)
	}
	if to != nil {
		r.k.send(to, r.message(r.Channel, name, content))
	}
}

// OK is the reply of an execution that went well.
func (r *Request) OK() {
	r.Reply(executeReply{Status: "ok", Count: r.count, UserExpressions: emptyObject, Payload: []string{}})
}

// Error ends an execution with an exception: an error message on iopub and the reply.
func (r *Request) Error(ename, evalue string) {
	content := map[string]any{
		"ename": ename, "evalue": evalue, "traceback": []string{ename + ": " + evalue},
	}
	r.Publish("error", content)
	content["status"], content["execution_count"] = "error", r.count
	// Counted before the reply: what the client sends after it has read that is not aborted.
	if r.Channel == kernel.Shell && r.execute.stopsOnError() {
		r.k.abort = r.k.Queued()
	}
	r.Reply(content)
}

// Idle sends the idle status now instead of at the end.
func (r *Request) Idle() {
	if !r.idled {
		r.idled = true
		r.Publish("status", idle)
	}
}

// Input asks the client that sent the request; ok is false when it does not allow that or when the request
// was interrupted.
func (r *Request) Input(prompt string, password bool) (value string, ok bool) {
	to := r.k.sockets["stdin"].peer(r.from.identity)
	if !r.execute.allowsStdin() || to == nil {
		return "", false
	}
	select {
	case <-r.k.inputs: // an answer that came too late for the question before
	default:
	}
	r.k.send(to, r.message(kernel.Stdin, "input_request", map[string]any{"prompt": prompt, "password": password}))
	select {
	case value = <-r.k.inputs:
		return value, true
	case <-r.done:
	case <-r.k.ending:
	}
	return "", false
}

// Raw writes bytes as they are on iopub (to all), or to the requesting client's shell or control connection.
func (r *Request) Raw(ch kernel.Channel, b []byte) {
	if ch == kernel.IOPub {
		r.k.sockets["iopub"].sendRaw(b)
		return
	}
	r.from.out.pushRaw(b)
}

// NoReply and NoIdle leave out what would otherwise be sent at the end.
func (r *Request) NoReply() { r.replied = true }

// NoIdle leaves out the idle status.
func (r *Request) NoIdle() { r.idled = true }

// Kernel is the kernel that works on the request.
func (r *Request) Kernel() *Kernel { return r.k }

func (r *Request) message(ch kernel.Channel, msgType string, content any) *kernel.Message {
	return r.k.message(ch, msgType, r.Parts[kernel.PartHeader], content)
}
