package kernel

import "encoding/json"

// Spec is one installed kernelspec.
// https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
type Spec struct {
	Name          string          // as clients name it: lower case, the folder's name
	Dir           string          // absolute resource folder
	Raw           json.RawMessage // kernel.json as installed, for clients
	Argv          []string        // template
	DisplayName   string
	Language      string
	InterruptMode string            // "signal" or "message"
	Env           map[string]string // templates: ${VAR} is taken from the server's environment
	Metadata      json.RawMessage
}
