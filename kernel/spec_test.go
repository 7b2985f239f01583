package kernel

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseSpec(t *testing.T) {
	raw := `{"argv": ["R", "-f", "{connection_file}"], "display_name": "R", "language": "R", "interrupt_mode": "Message",
		"env": {"A": "${B}"}, "metadata": {"n": 1.0, "big": 12345678901234567890}, "kernel_protocol_version": "5.3", "codemirror_mode": "r"}`
	s, err := parseSpec("ir", "/k/ir", []byte(raw))
	require.NoError(t, err)
	require.Equal(t, Spec{
		Name: "ir", Dir: "/k/ir", Argv: []string{"R", "-f", "{connection_file}"}, DisplayName: "R", Language: "R",
		InterruptMode: "message", Env: map[string]string{"A": "${B}"}, ProtocolVersion: "5.3",
		Metadata: json.RawMessage(`{"n": 1.0, "big": 12345678901234567890}`),
	}, s)

	s, err = parseSpec("x", "/k/x", []byte(` {"argv": null, "metadata": null}`))
	require.NoError(t, err)
	require.Equal(t, "signal", s.InterruptMode)
	require.JSONEq(t, "{}", string(s.Metadata))
}

func TestParseSpecRefuses(t *testing.T) {
	for _, raw := range []string{
		``, `garbage`, `null`, `[]`, `"x"`, `{"argv": "python"}`, `{"argv": [1]}`, `{"env": {"A": 1}}`, `{"env": []}`,
		`{"metadata": []}`, `{"metadata": "x"}`, `{"interrupt_mode": "shout"}`, `{"display_name": 3}`, "{\"language\": \"\xff\"}",
		`{"metadata": {"kernel_provisioner": {"provisioner_name": "yarn"}}}`, `{"argv": []} {}`,
	} {
		_, err := parseSpec("x", "/k/x", []byte(raw))
		require.Error(t, err, raw)
	}
}

func TestSpecTransport(t *testing.T) {
	for _, c := range []struct {
		argv     []string
		metadata string
		want     Transport
	}{
		{[]string{"python", "-m", "ipykernel_launcher", "-f", "{connection_file}"}, `{}`, IPC},
		{[]string{"/opt/x/bin/python3.11", "-Xfrozen_modules=off", "-m", "ipykernel", "-f", "{connection_file}"}, `{}`, IPC},
		{[]string{"python3", "-m", "bash_kernel", "-f", "{connection_file}"}, `{}`, IPC},
		{[]string{"python", "-m", "metakernel_python", "-f", "{connection_file}"}, `{}`, IPC},
		{[]string{"conda", "run", "-n", "x", "python", "-m", "ipykernel_launcher"}, `{}`, IPC},
		{[]string{"R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"}, `{}`, IPC},
		{[]string{"/opt/x/bin/xpython", "-f", "{connection_file}"}, `{}`, TCP},
		{[]string{"python3.11", "-m", "xpython_launcher", "-f", "{connection_file}"}, `{}`, TCP},
		{[]string{"deno", "jupyter", "--kernel", "--conn", "{connection_file}"}, `{}`, TCP},
		{[]string{"tslab", "kernel", "--config-path={connection_file}"}, `{}`, TCP},
		{[]string{"java", "-jar", "{resource_dir}/rapaio.jar", "{connection_file}"}, `{}`, TCP},
		{[]string{"docker", "run", "python", "-m", "ipykernel_launcher"}, `{}`, TCP},
		{[]string{"xonsh.sh"}, `{}`, TCP},
		{[]string{"python", "-m"}, `{}`, TCP},
		{nil, `{}`, TCP},
		{[]string{"deno", "jupyter"}, `{"nbserv": {"transport": "ipc"}}`, IPC},
		{[]string{"python", "-m", "ipykernel_launcher"}, `{"nbserv": {"transport": "tcp"}}`, TCP},
		{[]string{"python", "-m", "ipykernel_launcher"}, `{"nbserv": {"transport": "pigeon"}}`, IPC},
		{[]string{"python", "-m", "ipykernel_launcher"}, `{"nbserv": 7}`, IPC},
	} {
		require.Equal(t, c.want, Spec{Argv: c.argv, Metadata: json.RawMessage(c.metadata)}.Transport(), "%q %s", c.argv, c.metadata)
	}
}

func TestInterruptModeOfKernelsThatDieOfSIGINT(t *testing.T) {
	for raw, want := range map[string]string{
		`{"argv": ["/opt/bin/deno", "jupyter", "--kernel", "--conn", "{connection_file}"]}`: "message",
		`{"argv": ["deno", "jupyter"], "interrupt_mode": "signal"}`:                         "signal",
		`{"argv": ["deno"]}`: "signal",
		`{"argv": ["python", "-m", "ipykernel_launcher", "jupyter"]}`: "signal",
	} {
		s, err := parseSpec("x", "/k/x", []byte(raw))
		require.NoError(t, err, raw)
		require.Equal(t, want, s.InterruptMode, raw)
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(`{"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Python 3", "language": "python", "metadata": {"debugger": true}}`))
	f.Add([]byte(`{"argv": [], "env": {"PATH": "/x:${PATH}", "B": "$$"}, "interrupt_mode": "message"}`))
	f.Add([]byte(`{"metadata": {"kernel_provisioner": {"provisioner_name": "local-provisioner"}, "nbserv": {"transport": "tcp"}}}`))
	f.Add([]byte(`{"argv": ["{", "{}", "{{connection_file}}", "~/x", "$HOME"], "argv": ["R"]}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	l := localWith(map[string]string{"HOME": "/home/x", "PATH": "/nowhere"})
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseSpec("x", "/k/x", raw)
		if err != nil {
			return
		}
		require.Contains(t, []string{"signal", "message"}, s.InterruptMode)
		require.Contains(t, []Transport{IPC, TCP}, s.Transport())
		_, err = json.Marshal((&SpecAPI{BaseURL: "/"}).model(s))
		require.NoError(t, err)
		_, _, _ = l.command(Launch{Spec: s, ConnectionFile: "/run/k.json"})
		_ = l.env(Launch{Spec: s}, "mark")
	})
}
