package remote

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

func TestFaultsCrossUnchanged(t *testing.T) {
	for _, k := range fault.Kinds() {
		require.NotEmpty(t, kindNames[k], "kind %d has no name", k)
		raw := mustJSON(newWireFault(fault.Wrap(k, errors.New("a server path"), "for people")))
		require.NotContains(t, string(raw), "path", "what is for the log stays there")
		var f wireFault
		require.NoError(t, json.Unmarshal(raw, &f))
		require.Equal(t, k, fault.KindOf(f.err()))
		if k != fault.Internal {
			require.Equal(t, "for people", fault.Message(f.err()))
		}
	}
	require.Same(t, kernel.ErrTakenOver, newWireFault(kernel.ErrTakenOver).err())
	require.Equal(t, fault.Internal, fault.KindOf(wireFault{Kind: "of another version"}.err()))
}

// fill gives every field of a struct a value that is not its zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.SetMapIndex(key, value)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case v.Kind() == reflect.String:
		v.SetString("text")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(7)
	case v.CanUint():
		v.SetUint(7)
	case v.CanFloat():
		v.SetFloat(7.5)
	default:
		require.Fail(t, "a field of a kind that does not cross a socket", "%s", v.Type())
	}
}

// What is told of a kernel, and asked of one, arrives whole, whatever fields it gets.
func TestEveryFieldCrosses(t *testing.T) {
	for _, v := range []any{&kernel.Status{}, &kernel.StartOptions{}, &kernel.AttachOptions{}} {
		want := reflect.ValueOf(v).Elem()
		fill(t, want)
		got := reflect.New(want.Type())
		require.NoError(t, json.Unmarshal(mustJSON(v), got.Interface()))
		require.Equal(t, want.Interface(), got.Elem().Interface())
	}
}

func TestStateCrosses(t *testing.T) {
	want := state{order: 3, serial: 5, active: time.Unix(0, 1234567890123456789), connections: 7, execution: "busy", reason: "why é"}
	o := newOutbox()
	defer o.free()
	o.state(want)
	kind, payload, rest, ok, err := cutFrame(o.buf)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, frameState, kind)
	require.Empty(t, rest)
	got, err := decodeState(payload)
	require.NoError(t, err)
	require.Equal(t, want, got)
	for n := range payload[:stateHead+4] {
		_, err := decodeState(payload[:n])
		require.Error(t, err)
	}
}

func FuzzFrames(f *testing.F) {
	o := newOutbox()
	o.entry(frameEntry, kernel.Entry{Seq: 1, To: "page", Message: message(f, 10, 0, 3)})
	o.entry(frameEntry, kernel.Entry{Seq: 2, Kind: kernel.Detached, To: "page"})
	o.state(state{execution: "idle"})
	o.number(framePosition, 5)
	f.Add(append([]byte(nil), o.buf...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 'e'})
	f.Add([]byte{0, 0, 0, 35, 'e', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			kind, payload, rest, ok, err := cutFrame(b)
			if !ok || err != nil {
				return
			}
			b = rest
			switch kind {
			case frameEntry:
				e, err := decodeEntry(payload)
				if err != nil {
					continue
				}
				o := newOutbox()
				defer o.free()
				o.entry(frameEntry, e)
				again, err := decodeEntry(joined(o)[frameHead:])
				require.NoError(t, err)
				require.Equal(t, e, again)
			case frameState:
				_, _ = decodeState(payload)
			}
		}
	})
}

// joined is what o would write.
func joined(o *outbox) (all []byte) {
	for _, p := range o.pieces() {
		all = append(all, p...)
	}
	return all
}
