package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
)

// message is the little of a kernel's message that the bench looks at. It may alias a buffer that is reused.
type message struct {
	channel  []byte
	msgType  []byte
	parent   []byte // the parent_header, or only its msg_id
	metadata []byte
	content  []byte
}

// execution follows the answers to one execute_request until both its reply and its idle status have come, and
// counts the messages of one type among them. They are numbered, so that lost ones are seen.
type execution struct {
	history bool // the kernel keeps it, as it does what a person runs
	id      string
	code    string
	count   string // the msg_type to count; "" counts none
	want    int

	got         int
	next        int // the number that is due
	reply, idle bool
}

var requests atomic.Int64

// newExecution makes a request for code, which makes the kernel send want messages of type count.
func newExecution(code, count string, want int) *execution {
	return &execution{id: fmt.Sprintf("bench-%d-request", requests.Add(1)), code: code, count: count, want: want}
}

// take looks at the next message and reports whether it was the last.
func (e *execution) take(m message) (done bool, err error) {
	if e.count != "" && string(m.msgType) == e.count {
		return false, e.number(m)
	}
	if !bytes.Contains(m.parent, []byte(e.id)) {
		return false, nil
	}
	switch string(m.msgType) {
	case "execute_reply":
		if !bytes.Contains(m.content, []byte(`"ok"`)) {
			return true, fmt.Errorf("the kernel failed: %.300s", m.content)
		}
		e.reply = true
	case "status":
		e.idle = e.idle || bytes.Contains(m.content, []byte(`"idle"`))
	}
	return e.reply && e.idle, nil
}

// number checks a counted message's place. A gap is a loss; anything else out of order is an error.
func (e *execution) number(m message) error {
	if n, ok := sequence(m.metadata); ok {
		if n < e.next {
			return fmt.Errorf("message %d came where %d was due", n, e.next)
		}
		e.next = n + 1
	}
	e.got++
	return nil
}

// lost is how many messages have not come, once the execution has ended.
func (e *execution) lost() int { return e.want - e.got }

// sequence reads {"seq":n} as the synthetic kernel writes it.
func sequence(metadata []byte) (int, bool) {
	digits, ok := bytes.CutPrefix(metadata, []byte(`{"seq":`))
	if !ok {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// parts are the request's four parts in wire order.
func (e *execution) parts(session string) [4]json.RawMessage {
	header := `{"msg_id":"` + e.id + `","session":"` + session + `","username":"bench",` +
		`"date":"2025-01-01T00:00:00.000000Z","msg_type":"execute_request","version":"5.4"}`
	content := `{"code":` + strconv.Quote(e.code) + `,"silent":false,"store_history":` + strconv.FormatBool(e.history) + `,"user_expressions":{},` +
		`"allow_stdin":false,"stop_on_error":true}`
	return [4]json.RawMessage{[]byte(header), []byte("{}"), []byte("{}"), []byte(content)}
}

// client runs requests on one kernel, one at a time.
type client interface {
	// run sends the request and returns when its answers have come.
	run(*execution) error
	close()
}
