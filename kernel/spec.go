package kernel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Spec is one installed kernelspec.
// https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
type Spec struct {
	Name            string   // as clients name it: lower case, the folder's name
	Dir             string   // absolute resource folder
	Argv            []string // template
	DisplayName     string
	Language        string
	InterruptMode   string            // "signal" or "message"
	Env             map[string]string // templates: ${VAR} is taken from the server's environment
	Metadata        json.RawMessage   // a JSON object
	ProtocolVersion string            // kernel_protocol_version, "" when it is not said
	Resources       []string          // the files of Dir that clients show: kernel.js, kernel.css, logo-*
	Python          string            // what a plain "python" in Argv[0] means; "" is the one on PATH
	Prefix          string            // what {prefix} in Argv means; "" leaves it as it is
}

const (
	nativeSpec      = "python3"
	specFile        = "kernel.json"
	maxSpecBytes    = 1 << 20 // of a kernel.json; real ones have 0.2 to 5 KB
	interruptSignal = "signal"
	interruptByMsg  = "message"

	// localProvisioner is jupyter_client's name for kernels that are plain processes of this machine.
	localProvisioner = "local-provisioner"
)

// readSpec reads the kernelspec of the folder dir.
func readSpec(name, dir, file string) (Spec, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Spec{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxSpecBytes+1))
	switch {
	case err != nil:
		return Spec{}, err
	case len(raw) > maxSpecBytes:
		return Spec{}, fmt.Errorf("larger than %d bytes", maxSpecBytes)
	}
	return parseSpec(name, dir, raw)
}

// parseSpec reads a kernel.json. What jupyter_client refuses is an error here too: another JSON type where it
// declares one, an interrupt_mode it does not know, a provisioner that is not there.
func parseSpec(name, dir string, raw []byte) (Spec, error) {
	var k struct {
		Argv            []string          `json:"argv"`
		DisplayName     string            `json:"display_name"`
		Language        string            `json:"language"`
		InterruptMode   string            `json:"interrupt_mode"`
		Env             map[string]string `json:"env"`
		Metadata        json.RawMessage   `json:"metadata"`
		ProtocolVersion string            `json:"kernel_protocol_version"`
	}
	if !utf8.Valid(raw) {
		return Spec{}, errors.New("not UTF-8")
	}
	if err := unmarshalObject(raw, &k); err != nil {
		return Spec{}, err
	}
	s := Spec{Name: name, Dir: dir, Argv: k.Argv, DisplayName: k.DisplayName, Language: k.Language,
		InterruptMode: strings.ToLower(k.InterruptMode), Env: k.Env, Metadata: k.Metadata, ProtocolVersion: k.ProtocolVersion}
	if s.InterruptMode == "" {
		s.InterruptMode = interruptSignal
		if diesOfSIGINT(s.Argv) {
			s.InterruptMode = interruptByMsg
		}
	}
	if s.InterruptMode != interruptSignal && s.InterruptMode != interruptByMsg {
		return Spec{}, fmt.Errorf("interrupt_mode %q is neither signal nor message", k.InterruptMode)
	}
	if isNull(s.Metadata) {
		s.Metadata = json.RawMessage("{}")
	}
	return s, s.checkMetadata()
}

// checkMetadata refuses metadata that is no object, asks for a provisioner other than the local one, or limits
// kernels in a way that is not understood: a kernel that seems limited and is not would be worse.
func (s Spec) checkMetadata() error {
	var m struct {
		Provisioner struct {
			Name string `json:"provisioner_name"`
		} `json:"kernel_provisioner"`
	}
	if err := unmarshalObject(s.Metadata, &m); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if n := m.Provisioner.Name; n != "" && n != localProvisioner {
		return fmt.Errorf("its kernels need the provisioner %q, which is not here", n)
	}
	_, err := s.Limits()
	return err
}

// Transport is how to talk to kernels of s: what its metadata says, {"nbserv": {"transport": "ipc" or "tcp"}},
// else IPC for those known to speak it well, else TCP, which every kernel speaks.
func (s Spec) Transport() Transport {
	var m struct {
		Nbserv struct {
			Transport Transport `json:"transport"`
		} `json:"nbserv"`
	}
	if json.Unmarshal(s.Metadata, &m) == nil && (m.Nbserv.Transport == IPC || m.Nbserv.Transport == TCP) {
		return m.Nbserv.Transport
	}
	if speaksIPC(s.Argv) {
		return IPC
	}
	return TCP
}

// unmarshalObject decodes a JSON object, and nothing else, into v.
func unmarshalObject(raw []byte, v any) error {
	if b := bytes.TrimLeft(raw, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return errors.New("not a JSON object")
	}
	return json.Unmarshal(raw, v)
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }
