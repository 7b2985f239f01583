package kernel

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
)

// protocolVersion is the version of the messaging protocol that our own messages speak.
const protocolVersion = "5.4"

// compose makes a message of the server's own. Its parent is the raw header of the request it belongs to, or
// nil. content must be something encoding/json can write.
func compose(ch Channel, session, kind string, parent json.RawMessage, content any) *Message {
	header := encode(struct {
		MsgID    string `json:"msg_id"`
		MsgType  string `json:"msg_type"`
		Session  string `json:"session"`
		Username string `json:"username"`
		Date     string `json:"date"`
		Version  string `json:"version"`
	}{uuid.NewString(), kind, session, "nbserv", time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), protocolVersion})
	if parent == nil {
		parent = json.RawMessage("{}")
	}
	m, err := NewMessage(ch, [4]json.RawMessage{header, parent, json.RawMessage("{}"), encode(content)}, nil)
	if err != nil { // the parent was parsed before, the rest is ours
		panic("kernel: a message of our own does not parse: " + err.Error())
	}
	return m
}

func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("kernel: cannot encode a message of our own: " + err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// status makes a status message.
func status(session, state string, parent json.RawMessage) *Message {
	return compose(IOPub, session, "status", parent, map[string]string{"execution_state": state})
}

// failure is the content of an error output, and with a status of an error reply.
// https://jupyter-client.readthedocs.io/en/stable/messaging.html#execution-errors
type failure struct {
	Status    string   `json:"status,omitempty"`
	Name      string   `json:"ename"`
	Value     string   `json:"evalue"`
	Traceback []string `json:"traceback"`
}

// endings are the messages that end r in the place of the kernel, which cannot any more: why says for what
// reason. What the kernel was at work on fails with an error that a notebook shows; what it had not begun is
// aborted, as a kernel itself does with what is queued behind an error.
func (r *request) endings(session, name, why string) []*Message {
	var list []*Message
	content := failure{Status: "aborted", Name: name, Value: why, Traceback: []string{}}
	if r.busy {
		content.Status = "error"
		content.Traceback = []string{name + ": " + why}
	}
	if r.busy && r.kind == "execute_request" {
		shown := content
		shown.Status = ""
		list = append(list, compose(IOPub, session, "error", r.header, shown))
	}
	if !r.replied {
		reply := strings.TrimSuffix(r.kind, "_request") + "_reply"
		list = append(list, compose(r.channel, session, reply, r.header, content))
	}
	if !r.done {
		list = append(list, status(session, stateIdle, r.header))
	}
	return list
}

// The reasons for a reply that never comes.
const (
	connectionBroke = "the connection to the kernel broke while this ran: its reply was lost, its outputs were not"
	serverEnded     = "the server ended while this was open: its reply was lost, and perhaps some of its outputs"
	wentOn          = "the kernel went on to the next execution without a reply to this one"
)

// lostReply stands for the reply to r that never comes; its outputs were delivered.
func (r *request) lostReply(session, why string) *Message {
	return compose(r.channel, session, strings.TrimSuffix(r.kind, "_request")+"_reply", r.header,
		failure{Status: "error", Name: "ReplyLost", Value: why, Traceback: []string{}})
}

// ExecutionState is what a status message says; "" for any other, and for a malformed one.
func (m *Message) ExecutionState() string {
	if m.Header.MsgType != "status" {
		return ""
	}
	return executionState(m.Parts[PartContent])
}

// executionState reads the content of a status message; "" when it is not there.
func executionState(content json.RawMessage) string {
	var c struct {
		ExecutionState string `json:"execution_state"`
	}
	_ = json.Unmarshal(content, &c) // a kernel's malformed status says nothing
	return c.ExecutionState
}
