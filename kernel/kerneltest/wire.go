package kerneltest

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/nbserv/nbserv/kernel"
)

// send sends m on its channel: iopub to all, the others to one connection.
func (k *Kernel) send(to *peer, m *kernel.Message) {
	if m.Channel == kernel.IOPub {
		k.sockets["iopub"].publish(append([][]byte{topic(m)}, k.codec.Encode(m)...))
		return
	}
	to.out.push(k.codec.Encode(m))
}

// welcome greets a new subscription. JEP 65; like ipykernel's it has no topic frame when the subscription
// is to everything.
func (k *Kernel) welcome(subscription []byte) {
	m := k.message(kernel.IOPub, "iopub_welcome", nil, map[string]string{"subscription": string(subscription)})
	frames := k.codec.Encode(m)
	if len(subscription) > 0 {
		frames = append([][]byte{subscription}, frames...)
	}
	k.sockets["iopub"].publish(frames)
}

// message makes a message of the kernel's own. parent is the header it answers to, nil for none; content a
// json.RawMessage or anything that marshals.
func (k *Kernel) message(ch kernel.Channel, msgType string, parent []byte, content any) *kernel.Message {
	if parent == nil {
		parent = emptyObject
	}
	m := &kernel.Message{Channel: ch, Header: kernel.Header{MsgType: msgType, Session: k.session}}
	m.Parts[kernel.PartHeader] = k.header(msgType)
	m.Parts[kernel.PartParent] = parent
	m.Parts[kernel.PartMetadata] = emptyObject
	m.Parts[kernel.PartContent] = toJSON(content)
	return m
}

// header is written by hand, because a flood makes one per message. All its values are plain ASCII.
func (k *Kernel) header(msgType string) []byte {
	b := make([]byte, 0, 192)
	b = append(b, `{"msg_id":"`...)
	b = append(b, k.session...)
	b = append(b, '_')
	b = strconv.AppendUint(b, k.messages.Add(1), 10)
	b = append(b, `","session":"`...)
	b = append(b, k.session...)
	b = append(b, `","username":"synth","date":"`...)
	b = time.Now().UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, `","msg_type":"`...)
	b = append(b, msgType...)
	return append(b, `","version":"5.4"}`...)
}

// topic is the frame before an iopub message, by which SUB sockets choose.
func topic(m *kernel.Message) []byte {
	return append(append(append(make([]byte, 0, 64), "kernel."...), m.Header.Session+"."...), m.Header.MsgType...)
}

// toJSON keeps a json.RawMessage as it is. What does not marshal is a defect of the test.
func toJSON(v any) json.RawMessage {
	if raw, ok := v.(json.RawMessage); ok {
		return raw
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
