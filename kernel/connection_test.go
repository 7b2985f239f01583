package kernel

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestConnectionFile_S6(t *testing.T) {
	base := filepath.Join(shortDir(t), "run")
	c, err := NewConnection(base, "8a3f", "python3", IPC)
	require.NoError(t, err)
	require.Equal(t, "kernel-8a3f.json", filepath.Base(c.File))
	for path, mode := range map[string]os.FileMode{base: 0o700 | os.ModeDir, c.Dir: 0o700 | os.ModeDir, c.File: 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), path)
	}
	raw, err := os.ReadFile(c.File)
	require.NoError(t, err)
	var file map[string]any
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Len(t, c.Info.Key, 64, "256 bits in hexadecimal")
	require.Equal(t, map[string]any{
		"transport": "ipc", "ip": c.Dir + "/s", "shell_port": 1.0, "iopub_port": 2.0, "stdin_port": 3.0, "control_port": 4.0,
		"hb_port": 5.0, "key": c.Info.Key, "signature_scheme": "hmac-sha256", "kernel_name": "python3",
	}, file)
	require.Equal(t, "ipc://"+c.Dir+"/s-1", c.Info.Endpoint(Shell))
	require.Equal(t, "ipc://"+c.Dir+"/s-2", c.Info.Endpoint(IOPub))
	require.Equal(t, "ipc://"+c.Dir+"/s-3", c.Info.Endpoint(Stdin))
	require.Equal(t, "ipc://"+c.Dir+"/s-4", c.Info.Endpoint(Control))
	require.Equal(t, "ipc://"+c.Dir+"/s-5", c.Info.Heartbeat())

	other, err := NewConnection(base, "8a3f", "python3", IPC)
	require.NoError(t, err)
	require.NotEqual(t, c.Dir, other.Dir, "a folder for each incarnation")
	require.NotEqual(t, c.Info.Key, other.Info.Key)

	require.NoError(t, other.Close())
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	left, err := os.ReadDir(base)
	require.NoError(t, err)
	require.Empty(t, left, "P11")
}

func TestConnectionHoldsItsPorts(t *testing.T) {
	c, err := NewConnection(shortDir(t), "k", "deno", TCP)
	require.NoError(t, err)
	defer c.Close()
	addr := strings.TrimPrefix(c.Info.Endpoint(Shell), "tcp://")
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, addr)
	_, err = net.Listen("tcp4", addr)
	require.Error(t, err, "nobody else can take it")
	ports := map[int]bool{c.Info.ShellPort: true, c.Info.IOPubPort: true, c.Info.StdinPort: true, c.Info.ControlPort: true, c.Info.HBPort: true}
	require.Len(t, ports, 5)

	c.Release()
	c.Release()
	l, err := net.Listen("tcp4", addr)
	require.NoError(t, err, "the kernel can")
	require.NoError(t, l.Close())
}

func TestConnectionRefuses(t *testing.T) {
	base := shortDir(t)
	for _, id := range []string{"", "../x", "a/b", ".hidden", "a\x00", "-rf", strings.Repeat("a", 129), "ä"} {
		_, err := NewConnection(base, id, "python3", IPC)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%q", id)
	}
	long := filepath.Join(base, strings.Repeat("x", 100))
	_, err := NewConnection(long, "k", "python3", IPC)
	require.Equal(t, fault.Internal, fault.KindOf(err))
	require.ErrorContains(t, err, "too long")
	left, err := os.ReadDir(long)
	require.NoError(t, err)
	require.Empty(t, left, "nothing is left of a failure")

	open := filepath.Join(base, "open")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	_, err = NewConnection(open, "k", "python3", IPC)
	require.Equal(t, fault.Internal, fault.KindOf(err), "others could replace the folder")
	require.NoError(t, os.Chmod(open, 0o777|os.ModeSticky))
	c, err := NewConnection(open, "k", "python3", IPC)
	require.NoError(t, err)
	require.NoError(t, c.Close())

	file := filepath.Join(base, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = NewConnection(file, "k", "python3", IPC)
	require.Equal(t, fault.Internal, fault.KindOf(err), "not the client's NotFound")
}
