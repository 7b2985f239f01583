package ws

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/kernel"
)

// gapNotice tells a client that messages are missing (P4), as a stream message on stderr, which every Jupyter
// client can read. It has no parent: notebook cells ignore it, JupyterLab's log console and clients that
// print what they get show it. Programs read metadata.nbserv.gap.
//
// session is that of the kernel's own messages. JupyterLab 4.6 takes the session of each message for the
// kernel's present one and skips messages of another that it has received but not yet handled: a notice with
// a session of its own would itself lose output.
func gapNotice(seq uint64, g *kernel.Gap, session string) (*kernel.Message, error) {
	type gap struct {
		Dropped uint64 `json:"dropped"` // 0 when unknown
		Seq     uint64 `json:"seq"`     // the number of the last message that is missing
		Reason  string `json:"reason"`
	}
	many := fmt.Sprintf("%d messages", g.Dropped)
	switch g.Dropped {
	case 0:
		many = "an unknown number of messages"
	case 1:
		many = "1 message"
	}
	if session == "" {
		session = uuid.NewString()
	}
	header := struct {
		MsgID    string `json:"msg_id"`
		MsgType  string `json:"msg_type"`
		Username string `json:"username"`
		Session  string `json:"session"`
		Date     string `json:"date"`
		Version  string `json:"version"`
	}{
		uuid.NewString(), "stream", "nbserv", session,
		time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00"), messagingVersion,
	}
	content := struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}{"stderr", fmt.Sprintf("nbserv: %s of this kernel could not be delivered: %s\n", many, g.Reason)}
	metadata := map[string]map[string]gap{"nbserv": {"gap": {g.Dropped, seq, g.Reason}}}

	var parts [4]json.RawMessage
	for i, v := range [...]any{header, struct{}{}, metadata, content} {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		parts[i] = b
	}
	return kernel.NewMessage(kernel.IOPub, parts, nil)
}

// messagingVersion is the version of the messaging protocol that our own messages follow.
const messagingVersion = "5.4"
