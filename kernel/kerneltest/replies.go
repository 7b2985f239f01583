package kerneltest

import (
	"encoding/json"

	"github.com/nbserv/nbserv/kernel"
)

// infoReply is the kernel_info_reply. https://jupyter-client.readthedocs.io/en/stable/messaging.html#kernel-info
var infoReply = json.RawMessage(`{"status":"ok","protocol_version":"5.4","implementation":"synthkernel",` +
	`"implementation_version":"1.0","language_info":{"name":"synth","version":"1.0","mimetype":"text/plain",` +
	`"file_extension":".txt"},"banner":"a scripted kernel","help_links":[]}`)

// Default answers a request as a kernel without a Script does.
func (r *Request) Default() {
	switch r.Type {
	case "execute_request":
		r.runCommands()
	case "kernel_info_request":
		r.Reply(infoReply)
	case "comm_info_request":
		r.Reply(json.RawMessage(`{"status":"ok","comms":{}}`))
	case "complete_request":
		r.complete()
	case "inspect_request":
		r.Reply(json.RawMessage(`{"status":"ok","found":false,"data":{},"metadata":{}}`))
	case "is_complete_request":
		r.Reply(json.RawMessage(`{"status":"complete"}`))
	case "history_request":
		r.Reply(json.RawMessage(`{"status":"ok","history":[]}`))
	case "interrupt_request":
		r.k.Interrupt()
		r.Reply(json.RawMessage(`{"status":"ok"}`))
	case "shutdown_request":
		r.shutdown()
	}
}

// complete offers every command, whatever was typed.
func (r *Request) complete() {
	var asked struct {
		CursorPos int `json:"cursor_pos"`
	}
	_ = json.Unmarshal(r.Parts[kernel.PartContent], &asked) // the zero position will do
	r.Reply(map[string]any{
		"status": "ok", "matches": commandNames(), "cursor_start": 0, "cursor_end": asked.CursorPos, "metadata": emptyObject,
	})
}

// shutdown replies, tells all clients as ipykernel does, and lets the kernel end after the idle status.
func (r *Request) shutdown() {
	var asked struct {
		Restart bool `json:"restart"`
	}
	_ = json.Unmarshal(r.Parts[kernel.PartContent], &asked) // absent is false
	content := map[string]any{"status": "ok", "restart": asked.Restart}
	r.Publish("shutdown_reply", content)
	r.Reply(content)
}

// input takes an answer to input_request; nobody waiting, it is kept for the next who asks to throw away.
func (k *Kernel) input(_ *peer, frames [][]byte) {
	m, err := k.codec.Decode(kernel.Stdin, frames)
	if err != nil || m.Header.MsgType != "input_reply" {
		return
	}
	var answer struct {
		Value string `json:"value"`
	}
	_ = json.Unmarshal(m.Parts[kernel.PartContent], &answer)
	select {
	case k.inputs <- answer.Value:
	case <-k.ending:
	default:
	}
}
