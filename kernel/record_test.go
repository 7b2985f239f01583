package kernel

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func goodRecord() saved {
	return saved{
		Version: recordVersion, ID: "k", Order: 3, Start: StartOptions{ID: "k", Spec: "python3", Env: map[string]string{"A": "b"}},
		Spec:       Spec{Name: "python3", Argv: []string{"python"}, Metadata: json.RawMessage(`{}`)},
		Connection: savedConnection{ConnectionInfo{Transport: IPC, IP: "/r/k1/s", Key: "x"}, "/r/k1/kernel-k.json", "/r/k1"},
		Process:    Record{PID: 7, PGID: 7, StartTime: 8, Boot: "b", Mark: "m"},
		Identities: []string{"i"}, Own: "o",
	}
}

func TestRecordIsReadAsItWasWritten(t *testing.T) {
	want := goodRecord()
	raw, err := json.Marshal(want)
	require.NoError(t, err)
	got, err := parseRecord("k", raw)
	require.NoError(t, err)
	require.Equal(t, want, *got)
	_, err = parseRecord("other", raw)
	require.Error(t, err)
}

// Whatever is in a record's file, what is made of it names no folder but the kernel's own.
func FuzzParseRecord(f *testing.F) {
	raw, err := json.Marshal(goodRecord())
	if err != nil {
		f.Fatal(err)
	}
	f.Add("k", raw)
	f.Add("../k", raw)
	f.Add("k", raw[:len(raw)/2])
	f.Add("k", []byte(`{"Version":1,"ID":"k","Connection":{"File":"/kernel-k.json","Dir":"/"}}`))
	f.Add("", []byte(`null`))
	f.Fuzz(func(t *testing.T, id string, raw []byte) {
		r, err := parseRecord(id, raw)
		if err != nil {
			return
		}
		require.Regexp(t, idPattern, id)
		require.Equal(t, r.Connection.Dir+"/kernel-"+id+".json", r.Connection.File)
		require.Equal(t, id, r.Start.ID)
		require.Regexp(t, `^/(.*/)?k[^/]*$`, r.Connection.Dir)
		require.NotEmpty(t, r.Identities)
	})
}
