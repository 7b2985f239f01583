package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/nbserv/nbserv/"

// arrows are the only ways dependencies may point: from a room to those it may import. A room may always import
// its own sub-packages. internal/fault is everybody's, internal/httpx everybody's but fault's. A new arrow is a
// line here, for a reviewer to see.
var arrows = map[string][]string{
	"cmd/nbserv":               {"*"},
	"adapters/codeinterpreter": {"adapters", "sessions", "kernel", "contents", "internal/store"},
	"adapters/rserver":         {"adapters", "kernel", "internal/auth", "internal/store"},
	"adapters/imagestore":      {"contents"},
	"adapters":                 {"sessions", "kernel"},
	"sessions":                 {"kernel", "internal/store"},
	"sessions/overlay":         {"kernel", "contents/nbformat", "internal/store"},
	"ws":                       {"kernel"},
	"kernel/kerneltest":        {"kernel"},
	"kernel/hosttest":          {"kernel", "kernel/kerneltest"},
	"kernel/remote":            {"kernel"},
	"kernel":                   {"internal/cgroup", "internal/clock", "internal/jupyterpath"},
	"contents/nbformat":        {},
	"contents":                 {"contents/nbformat"},
	"contents/trust":           {"internal/store"},
	"internal/auth":            {"internal/store", "internal/clock", "internal/page"},
	"internal/cgroup":          {},
	"internal/clock":           {},
	"internal/configsection":   {},
	"internal/httpx":           {},
	"internal/events":          {"internal/socket"},
	"internal/fault":           {},
	"internal/jupyterpath":     {},
	"internal/lab":             {"internal/configsection", "internal/jupyterpath", "internal/page"},
	"internal/lsp":             {"internal/clock", "internal/jupyterpath", "internal/socket"},
	"internal/nbconvert":       {},
	"internal/page":            {},
	"internal/socket":          {},
	"internal/store":           {},
	"internal/terminals":       {"internal/clock", "internal/socket"},
	"e2e":                      {},
	"e2e/bench":                {"kernel"},
	"e2e/synthkernel":          {"kernel", "kernel/kerneltest"},
}

// outsiders are the dependencies that only some rooms may know.
var outsiders = map[string][]string{
	"github.com/go-zeromq/zmq4":                {"kernel", "kernel/kerneltest", "e2e/bench"},
	"github.com/containerd/cgroups/v3":         {"internal/cgroup"},
	"github.com/opencontainers/runtime-spec":   {"internal/cgroup"},
	"github.com/gorilla/websocket":             {"ws", "internal/socket"},
	"github.com/creack/pty":                    {"internal/terminals"},
	"github.com/prometheus/procfs":             {"internal/terminals"},
	"github.com/modelcontextprotocol/go-sdk":   {"adapters/codeinterpreter"},
	"modernc.org/sqlite":                       {"internal/store"},
	"github.com/spf13/cobra":                   {"cmd/nbserv"},
	"github.com/spf13/pflag":                   {"cmd/nbserv"},
	"github.com/prometheus/client_golang":      {"cmd/nbserv", "ws", "kernel", "kernel/remote", "sessions", "contents", "internal/auth", "internal/httpx", "adapters/codeinterpreter"},
	"github.com/prometheus/common":             {"kernel/remote"},
	"github.com/prometheus/client_model":       {"kernel/remote"},
	"golang.org/x/crypto":                      {"internal/auth"},
	"github.com/golang-jwt/jwt/v5":             {"internal/auth"},
	"github.com/stretchr/testify":              {"sessions/storetest", "kernel/hosttest"},
	"github.com/santhosh-tekuri/jsonschema/v6": {"contents", "internal/events", "internal/lab"},
	"github.com/klauspost/compress":            {"internal/lab"},
	"golang.org/x/text":                        {"internal/lab"},
	"github.com/gabriel-vasile/mimetype":       {"contents"},
	"go.yaml.in/yaml/v3":                       {"cmd/nbserv", "internal/events"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "../../...").Output()
	require.NoError(t, err)
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

// roomOf is the longest room that holds pkg, which has no module in front.
func roomOf(pkg string) (room string) {
	for r := range arrows {
		if (pkg == r || strings.HasPrefix(pkg, r+"/")) && len(r) > len(room) {
			room = r
		}
	}
	return room
}

func TestArrows(t *testing.T) {
	all := packages(t)
	require.NotEmpty(t, all)
	for _, p := range all {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		room := roomOf(pkg)
		if !strings.HasPrefix(pkg, "scripts/") {
			require.NotEmpty(t, room, "%s is in no room of this table", pkg)
		}
		for _, imp := range p.Imports {
			if to, ours := strings.CutPrefix(imp, module); ours {
				require.True(t, mayImport(room, roomOf(to)), "%s must not import %s", pkg, to)
			}
			for outsider, rooms := range outsiders {
				if imp == outsider || strings.HasPrefix(imp, outsider+"/") {
					require.True(t, slices.Contains(rooms, room) || slices.Contains(rooms, pkg), "%s must not import %s", pkg, imp)
				}
			}
		}
	}
}

func mayImport(from, to string) bool {
	switch {
	case slices.Contains(arrows[from], to), from == to, to == "internal/fault", to == "internal/httpx" && from != "internal/fault":
		return true
	}
	return slices.Contains(arrows[from], "*") && to != "kernel/kerneltest" // which is for tests only
}
