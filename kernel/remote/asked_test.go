package remote

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

func said(t *testing.T, ch kernel.Channel, kind, id, parent, content string) *kernel.Message {
	t.Helper()
	m, err := kernel.NewMessage(ch, [4]json.RawMessage{
		json.RawMessage(fmt.Sprintf(`{"msg_id":%q,"msg_type":%q,"session":"s"}`, id, kind)),
		json.RawMessage(fmt.Sprintf(`{"msg_id":%q}`, parent)), json.RawMessage("{}"), json.RawMessage(content),
	}, nil)
	require.NoError(t, err)
	return m
}

// What a client asked is known until both its reply and its idle status have come, in either order, and no more of it is
// told to the next kernel host than this one may have got.
func TestAskedUntilItEnds_P6(t *testing.T) {
	var a asked
	require.Nil(t, a.add(said(t, kernel.Stdin, "input_request", "stdin", "", "{}")))
	require.Nil(t, a.add(said(t, kernel.Shell, "comm_msg", "comm", "", "{}")))
	first := a.add(said(t, kernel.Shell, "execute_request", "first", "", "{}"))
	a.add(said(t, kernel.Shell, "execute_request", "second", "", "{}")).posted()
	require.Len(t, a.unsettled(), 1, "the first waits to be sent")
	first.posted()
	require.Equal(t, "first", a.unsettled()[0].Header.MsgID)
	a.heard(said(t, kernel.IOPub, "status", "1", "first", `{"execution_state":"busy"}`))
	a.heard(said(t, kernel.Shell, "execute_reply", "2", "first", "{}"))
	require.Len(t, a.unsettled(), 2)
	a.heard(said(t, kernel.IOPub, "status", "3", "first", `{"execution_state":"idle"}`))
	a.heard(said(t, kernel.IOPub, "status", "4", "second", `{"execution_state":"idle"}`))
	require.Equal(t, "second", a.unsettled()[0].Header.MsgID)
	a.heard(said(t, kernel.Shell, "execute_reply", "5", "second", "{}"))
	require.Empty(t, a.unsettled())
	require.Empty(t, a.order)
}

func TestAskedIsBounded_P9(t *testing.T) {
	var a asked
	large, err := json.Marshal(string(make([]byte, 2*maxKept)))
	require.NoError(t, err)
	a.add(said(t, kernel.Shell, "execute_request", "large", "", string(large))).posted()
	kept := a.unsettled()[0]
	require.Equal(t, "large", kept.Header.MsgID)
	require.Less(t, kept.Size(), maxKept)
	for i := range 2 * maxAsked {
		a.add(said(t, kernel.Shell, "execute_request", fmt.Sprint(i), "", "{}")).posted()
	}
	require.Len(t, a.unsettled(), maxAsked)
}
