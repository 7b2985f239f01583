package lab

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// untracked are the message types that do not count as activity of a kernel, as jupyter_server lists them: the page and
// the server have to agree.
var untracked = []string{
	"comm_info_request", "comm_info_reply", "kernel_info_request", "kernel_info_reply", "shutdown_request", "shutdown_reply",
	"interrupt_request", "interrupt_reply", "debug_request", "debug_reply", "stream", "display_data", "update_display_data",
	"execute_input", "execute_result", "error", "status", "clear_output", "debug_event", "input_request", "input_reply",
}

// urls are the addresses that pages ask for, by their names in the page configuration.
var urls = map[string]string{
	"appUrl":             "/lab",
	"labextensionsUrl":   "/lab/extensions",
	"licensesUrl":        "/lab/api/licenses",
	"listingsUrl":        "/lab/api/listings",
	"settingsUrl":        "/lab/api/settings",
	"themesUrl":          "/lab/api/themes",
	"translationsApiUrl": "/lab/api/translations",
	"treeUrl":            "/lab/tree",
	"workspacesApiUrl":   "/lab/api/workspaces",
}

// disabledKey is the page configuration's list of extensions and plugins that the page does not load.
const disabledKey = "disabledExtensions"

// pageConfig is what every page of app is told.
//
// The token is always empty: whoever sees the page is logged in by a cookie, which is what the page's WebSockets use
// anyway, and scripts on the page cannot read it (S6). News, updates and builds are off, as the server asks nobody
// outside and runs no Node; extensions are listed, not installed.
func (l *Lab) pageConfig(in *installation, app *application, namespace string) (map[string]any, error) {
	overlay, err := l.pageOverlay(in)
	if err != nil {
		return nil, err
	}
	config := map[string]any{
		"appName": app.Name, "appVersion": app.Version, "appNamespace": namespace,
		"baseUrl": l.base, "wsUrl": "", "token": "",
		"fullStaticUrl": l.base + "static/" + namespace,
		"mode":          "multiple-document", "workspace": "default", "treePath": "", "preferredPath": cmp.Or(l.page.PreferredDir, "/"),
		"serverRoot": filepath.ToSlash(l.page.RootDir),
		"rootUri":    fileURI(l.page.RootDir), "virtualDocumentsUri": fileURI(filepath.Join(l.page.RootDir, ".virtual_documents")),
		"notebookVersion": "[" + strings.ReplaceAll(l.page.ServerVersion, ".", ", ") + "]", // a text that holds JSON
		"store_id":        0,
		"mathjaxConfig":   "TeX-AMS_HTML-full,Safe", "fullMathjaxUrl": l.base + "static/components/MathJax/MathJax.js",
		"terminalsAvailable": l.page.Terminals, "quitButton": true,
		"allow_hidden_files": l.page.AllowHidden, "delete_to_trash": l.page.DeleteToTrash,
		"buildAvailable": false, "buildCheck": false, "devMode": false, "exposeAppInBrowser": false,
		"cacheFiles": true, "copyAbsolutePath": false, "notebookStartsKernel": true, "nbclassic_enabled": false,
		"extensionManager":        map[string]any{"name": "read-only", "can_install": false, "install_path": in.Prefix},
		"news":                    map[string]any{"disabled": true},
		"ignorePlugins":           []string{},
		"untracked_message_types": untracked,
	}
	for name, path := range urls {
		config[name] = path
		config["full"+strings.ToUpper(name[:1])+name[1:]] = l.base + path[1:]
	}
	for _, m := range overlay {
		config[m.key] = m.value
	}
	return config, nil
}

// fileURI is an absolute path as language servers want it.
func fileURI(path string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

// pageOverlay is what packages, administrators and users add to the page configuration: page_config.json beside
// JupyterLab, then labconfig/page_config.json on Jupyter's configuration path, then the extensions and what they
// disable. As in jupyterlab_server, objects become the lists of their true members.
func (l *Lab) pageOverlay(in *installation) (object, error) {
	overlay, err := readPageConfig(in.AppSettings)
	if err != nil {
		l.log.Warn("page_config beside JupyterLab cannot be used", "path", in.AppSettings, "err", err)
	}
	section, err := l.labConfig(in, "page_config")
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(section)) {
		overlay.merge(object{{key, section[key]}})
	}
	extensions := findExtensions(in.Extensions, l.log)
	overlay.set(disabledKey, disabled(overlay.object(disabledKey), extensions, in.Lab).raw())
	for i, m := range overlay {
		if !isObject(m.value) {
			continue
		}
		names := []string{}
		sub, err := parseObject(m.value)
		if err != nil {
			return nil, err
		}
		for _, s := range sub {
			if truthy(s.value) {
				names = append(names, s.key)
			}
		}
		overlay[i].value = mustJSON(names)
	}
	if l.cfg.Live {
		extensions = append(extensions, live())
	}
	overlay.set("federated_extensions", mustJSON(federatedOf(extensions)))
	return overlay, nil
}

// readPageConfig reads the page_config.json5 or page_config.json of a folder, whose lists of extensions may be lists.
func readPageConfig(dir string) (object, error) {
	for _, name := range []string{"page_config.json5", "page_config.json"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(raw) == 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		if raw, err = fromJSON5(raw); err != nil {
			return nil, err
		}
		config, err := parseObject(raw)
		if err != nil {
			return nil, err
		}
		for _, key := range []string{disabledKey, "deferredExtensions"} {
			var set stringSet
			if value := config.get(key); value != nil && !isObject(value) && json.Unmarshal(value, &set) == nil {
				config.set(key, asObject(set).raw())
			}
		}
		return config, nil
	}
	return nil, nil
}

// asObject has every name as a true member.
func asObject(names []string) (o object) {
	for _, n := range names {
		o.set(n, json.RawMessage("true"))
	}
	return o
}

// disabled adds to what the configuration disables what the extensions that are enabled ask to have disabled. The
// configuration has the last word.
func disabled(config object, extensions []extension, lab *application) object {
	asked := map[string]stringSet{}
	for name, meta := range lab.extensionMetadata() {
		asked[name] = meta.DisabledExtensions
	}
	for _, e := range extensions {
		if list := e.Package.JupyterLab.DisabledExtensions; len(list) > 0 {
			asked[e.Package.Name] = list
		}
	}
	var all object
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if string(config.get(name)) == "true" {
			continue
		}
		for _, m := range asObject(asked[name]) {
			all.set(m.key, m.value)
		}
	}
	for _, m := range config {
		all.set(m.key, m.value)
	}
	return all
}

// sourceExtension is what a JupyterLab that was built with an extension inside notes about it.
type sourceExtension struct {
	DisabledExtensions stringSet `json:"disabledExtensions"`
}

func (a *application) extensionMetadata() map[string]sourceExtension {
	raw, err := os.ReadFile(filepath.Join(a.Static, "package.json"))
	if err != nil {
		return nil
	}
	var pkg struct {
		JupyterLab struct {
			ExtensionMetadata map[string]sourceExtension `json:"extensionMetadata"`
		} `json:"jupyterlab"`
	}
	_ = json.Unmarshal(raw, &pkg) // one that cannot be read says nothing
	return pkg.JupyterLab.ExtensionMetadata
}
