package lsp

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// configured reads the language servers of Jupyter's configuration files: LanguageServerManager.language_servers in
// jupyter_config, jupyter_notebook_config and jupyter_server_config, each NAME.d/*.json and NAME.json.
type configured struct {
	log *slog.Logger

	mu     sync.Mutex
	warned map[string]string // guarded by mu: what was said of a file
}

// read gives the specs of the folders, the first of which wins, and of further files, which win over them.
func (c *configured) read(folders, further []string) map[string]Spec {
	var files []string
	for _, section := range []string{"jupyter_config", "jupyter_notebook_config", "jupyter_server_config"} {
		for _, dir := range slices.Backward(folders) {
			more, _ := filepath.Glob(filepath.Join(dir, section+".d", "*.json"))
			slices.Sort(more)
			files = append(append(files, more...), filepath.Join(dir, section+".json"))
		}
	}
	all := map[string]Spec{}
	for _, f := range append(files, further...) {
		c.add(all, f)
	}
	return all
}

// add adds the specs of one file. What is wrong in it is logged once, and left out.
func (c *configured) add(all map[string]Spec, file string) {
	raw, err := os.ReadFile(file)
	if err != nil || len(raw) == 0 {
		return // most are not there
	}
	var settings struct {
		Manager struct {
			Servers map[string]json.RawMessage `json:"language_servers"`
		} `json:"LanguageServerManager"`
	}
	if err := json.Unmarshal(raw, &settings); err != nil {
		c.warn(file, "", err)
		return
	}
	for name, raw := range settings.Manager.Servers {
		s := all[name] // a later file may change one setting of an earlier one's
		err := json.Unmarshal(raw, &s)
		if err == nil {
			err = s.check()
		}
		if err != nil {
			c.warn(file, name, err)
			continue
		}
		all[name] = s
	}
}

func (c *configured) warn(file, name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := file + "\x00" + name; c.warned[key] != err.Error() {
		c.warned[key] = err.Error()
		c.log.Warn("a language server's configuration is left out", "file", file, "language_server", name, "err", err)
	}
}
