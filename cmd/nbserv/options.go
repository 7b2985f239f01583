package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// option is one thing to configure. The options table drives the flags, the NBSERV_* variables, the
// configuration files, --help and the README.
type option struct {
	group string
	name  string            // of the flag, and of the key in a configuration file
	bind  func(*Config) any // *string, *bool, *int, *int64 (bytes), *float64, *time.Duration or *[]string
	// traits are the settings of jupyter_server_config.json that mean the same; a later one wins.
	traits []string
	usage  string
	secret bool // never shown
}

// env is the name of the option's variable.
func (o option) env() string {
	return "NBSERV_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
}

// traitsOf spells one trait for several of Jupyter's classes, weakest first.
func traitsOf(trait string, classes ...string) []string {
	all := make([]string, len(classes))
	for i, c := range classes {
		all[i] = c + "." + trait
	}
	return all
}

var (
	identityClasses = []string{"ServerApp", "NotebookApp", "IdentityProvider", "PasswordIdentityProvider"}
	contentsClasses = []string{"ContentsManager", "AsyncContentsManager", "FileContentsManager", "AsyncFileContentsManager"}
	labClasses      = []string{"ServerApp", "LabServerApp", "LabApp"}
	kernelClasses   = []string{"MultiKernelManager", "AsyncMultiKernelManager", "MappingKernelManager", "AsyncMappingKernelManager"}
)

var options = []option{
	{"Server", "ip", func(c *Config) any { return &c.IP }, []string{"ServerApp.ip"},
		"address to listen on; * means all", false},
	{"Server", "port", func(c *Config) any { return &c.Port }, []string{"ServerApp.port"},
		"port to listen on; 0 lets the system choose", false},
	{"Server", "port-retries", func(c *Config) any { return &c.PortRetries }, []string{"ServerApp.port_retries"},
		"how many further ports to try when the port is taken", false},
	{"Server", "base-url", func(c *Config) any { return &c.BaseURL }, []string{"ServerApp.base_url"},
		"path prefix of every URL", false},
	{"Server", "root-dir", func(c *Config) any { return &c.RootDir },
		append([]string{"ServerApp.notebook_dir", "ServerApp.root_dir"}, traitsOf("root_dir", contentsClasses...)...),
		"folder of notebooks and files (default: the current one)", false},
	{"Server", "state-dir", func(c *Config) any { return &c.StateDir }, nil,
		"folder for what must survive a restart (default: one per root folder, in nbserv in $XDG_STATE_HOME or ~/.local/state)", false},
	{"Server", "config", func(c *Config) any { return &c.ConfigFile }, nil,
		"configuration file, JSON: these names, or Jupyter's (default: jupyter_server_config.json in $JUPYTER_CONFIG_DIR or ~/.jupyter)", false},
	{"Server", "certfile", func(c *Config) any { return &c.CertFile }, []string{"ServerApp.certfile"},
		"TLS certificate (PEM); read again when it changes", false},
	{"Server", "keyfile", func(c *Config) any { return &c.KeyFile }, []string{"ServerApp.keyfile"},
		"key of the TLS certificate (PEM)", false},
	{"Server", "trusted-proxies", func(c *Config) any { return &c.TrustedProxies }, nil,
		"addresses or networks (CIDR) whose X-Forwarded-* headers are believed", false},
	{"Server", "stop-timeout", func(c *Config) any { return &c.StopTimeout }, nil,
		"how long a graceful stop may take", false},
	{"Server", "metrics-auth", func(c *Config) any { return &c.MetricsAuth }, []string{"ServerApp.authenticate_prometheus"},
		"ask for credentials at /metrics", false},

	{"Authentication", "token", func(c *Config) any { return &c.Auth.Token }, traitsOf("token", identityClasses...),
		"token that lets a client in; empty: none (default: a random one, unless there is a password)", true},
	{"Authentication", "password", func(c *Config) any { return &c.Auth.PasswordHash },
		[]string{"ServerApp.password", "PasswordIdentityProvider.hashed_password"},
		"argon2id hash of the password for the login page", true},
	{"Authentication", "insecure-no-auth", func(c *Config) any { return &c.NoAuth }, nil,
		"serve an address other than loopback with neither token nor password", false},
	{"Authentication", "allow-origin", func(c *Config) any { return &c.Auth.AllowOrigin }, []string{"ServerApp.allow_origin"},
		"origin whose pages may use the API; * means any", false},
	{"Authentication", "allow-origin-pat", func(c *Config) any { return &c.Auth.AllowOriginPat }, []string{"ServerApp.allow_origin_pat"},
		"regular expression that must match a whole origin", false},
	{"Authentication", "allow-credentials", func(c *Config) any { return &c.Auth.AllowCredentials }, []string{"ServerApp.allow_credentials"},
		"cross-origin requests may carry cookies", false},
	{"Authentication", "allow-remote-access", func(c *Config) any { return &c.Auth.AllowRemoteAccess }, []string{"ServerApp.allow_remote_access"},
		"accept any Host header (default: only local ones, while listening on loopback)", false},
	{"Authentication", "local-hostnames", func(c *Config) any { return &c.Auth.LocalHostnames }, []string{"ServerApp.local_hostnames"},
		"further Host names that count as local", false},
	{"Authentication", "allow-password-change", func(c *Config) any { return &c.Auth.AllowPasswordChange },
		[]string{"ServerApp.allow_password_change", "PasswordIdentityProvider.allow_password_change"},
		"the login page may set a new password", false},
	{"Authentication", "cookie-name", func(c *Config) any { return &c.Auth.CookieName },
		traitsOf("cookie_name", "IdentityProvider", "PasswordIdentityProvider"),
		"name of the login cookie (default: one per host and port)", false},
	{"Authentication", "disable-check-xsrf", func(c *Config) any { return &c.Auth.DisableCheckXSRF }, []string{"ServerApp.disable_check_xsrf"},
		"do not ask browsers for the XSRF token", false},

	{"Kernels", "default-kernel", func(c *Config) any { return &c.DefaultKernel }, traitsOf("default_kernel_name", kernelClasses...),
		"kernelspec for requests that name none", false},
	{"Kernels", "allowed-kernels", func(c *Config) any { return &c.AllowedKernels },
		traitsOf("allowed_kernelspecs", "KernelSpecManager"),
		"kernelspecs that may be used (default: all)", false},
	{"Kernels", "native-kernel", func(c *Config) any { return &c.NativeKernel }, traitsOf("ensure_native_kernel", "KernelSpecManager"),
		"offer python3 where ipykernel is installed without a kernelspec", false},
	{"Kernels", "pending-kernels", func(c *Config) any { return &c.Kernels.PendingKernels }, traitsOf("use_pending_kernels", kernelClasses...),
		"answer a start before its kernel is known to live", false},
	{"Kernels", "kernel-start-timeout", func(c *Config) any { return &c.Kernels.StartTimeout },
		traitsOf("kernel_info_timeout", "MappingKernelManager", "AsyncMappingKernelManager"),
		"how long a kernel may take to become ready", false},
	{"Kernels", "shutdown-wait", func(c *Config) any { return &c.Kernels.ShutdownWait },
		traitsOf("shutdown_wait_time", "KernelManager", "AsyncKernelManager"),
		"how long a kernel may take to end before it is killed", false},
	{"Kernels", "max-kernels", func(c *Config) any { return &c.Kernels.MaxKernels }, nil,
		"most kernels at a time; 0: no limit", false},
	{"Kernels", "kernel-memory-limit", func(c *Config) any { return &c.Kernels.Limits.MemoryBytes }, nil,
		"most memory of one kernel with all its processes, such as 2G; 0: no limit", false},
	{"Kernels", "kernel-cpu-limit", func(c *Config) any { return &c.Kernels.Limits.CPUs }, nil,
		"most processors that one kernel may keep busy, such as 1.5; 0: no limit", false},
	{"Kernels", "kernel-max-processes", func(c *Config) any { return &c.Kernels.Limits.Processes }, nil,
		"most processes and threads of one kernel; 0: no limit", false},
	{"Kernels", "kernel-host", func(c *Config) any { return &c.KernelHost }, nil,
		"where kernels live: spawn, in a process of their own, started when there is none; inprocess, in the server; or the path of a kernel host's socket", false},
	{"Kernels", "keep-kernels", func(c *Config) any { return &c.KeepKernels }, nil,
		"leave the kernels running when the server is stopped", false},
	{"Kernels", "detached-ttl", func(c *Config) any { return &c.Kernels.DetachedTTL }, nil,
		"how long the place of a client that has gone is kept", false},
	{"Kernels", "journal-max-bytes", func(c *Config) any { return &c.Kernels.Journal.DiskBytes }, nil,
		"how much of what a kernel said is kept on disk for clients that come back; four times that while a connected client has not read it", false},
	{"Kernels", "journals-max-bytes", func(c *Config) any { return &c.Kernels.JournalsBytes }, nil,
		"how much of what all kernels said is kept on disk; the oldest of whoever has most goes first", false},
	{"Kernels", "cull-idle-timeout", func(c *Config) any { return &c.Kernels.CullIdleTimeout }, traitsOf("cull_idle_timeout", kernelClasses[2:]...),
		"end kernels that were idle this long; 0: never", false},
	{"Kernels", "cull-interval", func(c *Config) any { return &c.Kernels.CullInterval }, traitsOf("cull_interval", kernelClasses[2:]...),
		"how often to look for idle kernels", false},
	{"Kernels", "cull-connected", func(c *Config) any { return &c.Kernels.CullConnected }, traitsOf("cull_connected", kernelClasses[2:]...),
		"also end idle kernels that a client is connected to", false},
	{"Kernels", "cull-busy", func(c *Config) any { return &c.Kernels.CullBusy }, traitsOf("cull_busy", kernelClasses[2:]...),
		"also end kernels that are busy", false},

	{"Contents", "follow-symlinks", func(c *Config) any { return &c.Contents.FollowSymlinks }, nil,
		"follow symbolic links that leave the root folder", false},
	{"Contents", "allow-hidden", func(c *Config) any { return &c.Contents.AllowHidden }, traitsOf("allow_hidden", contentsClasses...),
		"show and serve hidden files", false},
	{"Contents", "delete-to-trash", func(c *Config) any { return &c.Contents.DeleteToTrash }, traitsOf("delete_to_trash", contentsClasses[2:]...),
		"move deleted files to the trash", false},
	{"Contents", "preferred-dir", func(c *Config) any { return &c.Contents.PreferredDir },
		append([]string{"ServerApp.preferred_dir"}, traitsOf("preferred_dir", contentsClasses...)...),
		"folder that clients open first", false},

	{"Contents", "always-delete-dir", func(c *Config) any { return &c.Contents.AlwaysDeleteDir }, traitsOf("always_delete_dir", contentsClasses[2:]...),
		"delete folders that are not empty, when there is no trash", false},
	{"Contents", "untitled-notebook", func(c *Config) any { return &c.Contents.UntitledNotebook }, traitsOf("untitled_notebook", contentsClasses...),
		"name of a new notebook", false},
	{"Contents", "untitled-file", func(c *Config) any { return &c.Contents.UntitledFile }, traitsOf("untitled_file", contentsClasses...),
		"name of a new file", false},
	{"Contents", "untitled-directory", func(c *Config) any { return &c.Contents.UntitledDirectory }, traitsOf("untitled_directory", contentsClasses...),
		"name of a new folder", false},
	{"Contents", "max-body-size", func(c *Config) any { return &c.Contents.MaxBody }, []string{"ServerApp.max_body_size"},
		"largest upload in one request, in bytes", false},
	{"Contents", "max-copy-folder-size", func(c *Config) any { return &c.Contents.MaxCopy }, nil,
		"largest folder that is copied, in bytes", false},
	{"Contents", "max-uploads", func(c *Config) any { return &c.Contents.MaxUploads }, nil,
		"most uploads in parts that may be unfinished at a time", false},
	{"Contents", "staging-ttl", func(c *Config) any { return &c.Contents.StagingTTL }, nil,
		"how long an upload in parts may stand still before it is removed", false},

	{"Contents", "page-asleep-timeout", func(c *Config) any { return &c.Overlays.Asleep }, nil,
		"how long a page that went without a goodbye may come back, before what its cells printed since is written into its notebook's file", false},

	{"Terminals", "terminals", func(c *Config) any { return &c.Terminals.Enabled }, []string{"ServerApp.terminals_enabled"},
		"offer terminals", false},
	{"Terminals", "terminal-shell", func(c *Config) any { return &c.Terminals.Shell }, nil,
		"command of terminals, its arguments after commas (default: $SHELL, as a login shell where the server has no terminal)", false},
	{"Terminals", "max-terminals", func(c *Config) any { return &c.Terminals.MaxTerminals }, nil,
		"most terminals at a time; 0: no limit", false},
	{"Terminals", "terminal-cull-timeout", func(c *Config) any { return &c.Terminals.CullInactiveTimeout },
		traitsOf("cull_inactive_timeout", "TerminalManager"), "end terminals in which nothing happened this long; 0: never", false},
	{"Terminals", "terminal-cull-interval", func(c *Config) any { return &c.Terminals.CullInterval },
		traitsOf("cull_interval", "TerminalManager"), "how often to look for such terminals", false},

	{"Language servers", "language-servers", func(c *Config) any { return &c.LanguageServers.Enabled }, nil,
		"offer language servers to JupyterLab", false},
	{"Language servers", "find-language-servers", func(c *Config) any { return &c.LanguageServers.Find }, []string{"LanguageServerManager.autodetect"},
		"offer those that are known and installed, beside those of configuration files", false},
	{"Language servers", "language-server-config", func(c *Config) any { return &c.LanguageServers.Files }, nil,
		"JSON files with further ones, as LanguageServerManager.language_servers in Jupyter's own files", false},
	{"Language servers", "node-roots", func(c *Config) any { return &c.LanguageServers.NodeRoots },
		[]string{"LanguageServerManager.node_roots", "LanguageServerManager.extra_node_roots"}, "further folders in whose node_modules to look for them", false},
	{"Language servers", "max-language-servers", func(c *Config) any { return &c.LanguageServers.Max }, nil,
		"most language servers that run at a time, one per page and language; 0: no limit", false},

	{"WebSockets", "ws-ping-interval", func(c *Config) any { return &c.WebSockets.PingInterval }, []string{"ServerApp.websocket_ping_interval"},
		"how often an idle WebSocket is pinged; negative: never", false},
	{"WebSockets", "ws-write-timeout", func(c *Config) any { return &c.WebSockets.WriteTimeout }, nil,
		"how long a WebSocket may take no bytes before it is closed", false},
	{"WebSockets", "ws-max-message-bytes", func(c *Config) any { return &c.WebSockets.MaxMessageBytes }, nil,
		"largest message a client may send, in bytes", false},

	{"Contents", "max-upload-size", func(c *Config) any { return &c.Contents.MaxUpload }, nil,
		"largest file that is uploaded in parts or to the ImageStore, in bytes", false},
	{"Contents", "max-staging-size", func(c *Config) any { return &c.Contents.MaxStaging }, nil,
		"most bytes that unfinished uploads may hold together", false},

	{"JupyterLab", "default-url", func(c *Config) any { return &c.Lab.DefaultURL }, traitsOf("default_url", labClasses...),
		"where / leads; while there is no JupyterLab, its pages give way to the server's own", false},
	{"JupyterLab", "lab-dir", func(c *Config) any { return &c.Lab.Dir }, traitsOf("app_dir", labClasses...),
		"JupyterLab's application folder (default: the first that is found, as docs/jupyterlab.md says)", false},
	{"JupyterLab", "lab-settings-dir", func(c *Config) any { return &c.Lab.UserSettingsDir }, traitsOf("user_settings_dir", labClasses...),
		"folder of the user's settings (default: lab/user-settings in Jupyter's configuration folder)", false},
	{"JupyterLab", "lab-workspaces-dir", func(c *Config) any { return &c.Lab.WorkspacesDir }, traitsOf("workspaces_dir", labClasses...),
		"folder of the workspaces (default: lab/workspaces in Jupyter's configuration folder)", false},
	{"JupyterLab", "lab-extensions-path", func(c *Config) any { return &c.Lab.OnlyExtensionDirs }, traitsOf("labextensions_path", labClasses...),
		"folders of prebuilt extensions (default: labextensions in Jupyter's data folders)", false},
	{"JupyterLab", "lab-extra-extensions-path", func(c *Config) any { return &c.Lab.ExtensionDirs }, traitsOf("extra_labextensions_path", labClasses...),
		"further folders of prebuilt extensions, searched first", false},
	{"JupyterLab", "lab-custom-css", func(c *Config) any { return &c.Lab.CustomCSS }, traitsOf("custom_css", labClasses...),
		"JupyterLab's page loads custom/custom.css of Jupyter's configuration folder", false},
	{"JupyterLab", "lab-blocked-extensions", func(c *Config) any { return &c.Lab.BlockedURIs }, traitsOf("blocked_extensions_uris", labClasses...),
		"addresses of lists of extensions that are blocked", false},
	{"JupyterLab", "lab-allowed-extensions", func(c *Config) any { return &c.Lab.AllowedURIs }, traitsOf("allowed_extensions_uris", labClasses...),
		"addresses of lists of the only extensions that are allowed", false},
	{"JupyterLab", "lab-live", func(c *Config) any { return &c.Lab.Live }, nil,
		"pages show the launcher at once, and go on with the outputs of running cells after a reload, by an extension of nbserv's own", false},
	{"JupyterLab", "lab-static-dir", func(c *Config) any { return &c.Lab.StaticDir }, traitsOf("static_dir", labClasses...),
		"replaces static of the application folder", false},
	{"JupyterLab", "lab-templates-dir", func(c *Config) any { return &c.Lab.TemplatesDir }, traitsOf("templates_dir", labClasses...),
		"folder of the page template (default: the one of the static files)", false},
	{"JupyterLab", "lab-schemas-dir", func(c *Config) any { return &c.Lab.SchemasDir }, traitsOf("schemas_dir", labClasses...),
		"replaces schemas of the application folder", false},
	{"JupyterLab", "lab-themes-dir", func(c *Config) any { return &c.Lab.ThemesDir }, traitsOf("themes_dir", labClasses...),
		"replaces themes of the application folder", false},
	{"JupyterLab", "lab-app-settings-dir", func(c *Config) any { return &c.Lab.AppSettingsDir }, traitsOf("app_settings_dir", labClasses...),
		"replaces settings of the application folder: overrides and page_config", false},

	{"ImageStore", "imagestore-dir", func(c *Config) any { return &c.ImageStore.Dir }, nil,
		"folder that is the ImageStore (default: the root folder)", false},
	{"ImageStore", "imagestore-listen", func(c *Config) any { return &c.ImageStore.Listen }, nil,
		"further address, host:port, that serves the ImageStore alone (its clients expect port 19080)", false},

	{"Code interpreter", "codeinterpreter-listen", func(c *Config) any { return &c.CodeInterpreter.Listen }, nil,
		"further address, host:port, with the default pool of the code interpreter at its root (its examples use port 6000)", false},
	{"Code interpreter", "codeinterpreter-pools", func(c *Config) any { return &c.CodeInterpreter.PoolsFile }, nil,
		"JSON file of the pools (default: python and shell)", false},
	{"Code interpreter", "codeinterpreter-default-pool", func(c *Config) any { return &c.CodeInterpreter.DefaultPool }, nil,
		"pool at the root of --codeinterpreter-listen and of /mcp", false},
	{"Code interpreter", "codeinterpreter-ready", func(c *Config) any { return &c.CodeInterpreter.Ready }, nil,
		"sessions of each pool that are started ahead, where no file of pools says otherwise", false},
	{"Code interpreter", "codeinterpreter-max-upload", func(c *Config) any { return &c.CodeInterpreter.MaxUpload }, nil,
		"largest file that is uploaded in one request", false},
	{"Code interpreter", "codeinterpreter-keep", func(c *Config) any { return &c.CodeInterpreter.Keep }, nil,
		"how long the outcome of an execution is remembered", false},
	{"Code interpreter", "codeinterpreter-allow-unconfined", func(c *Config) any { return &c.CodeInterpreter.AllowUnconfined }, nil,
		"let pools whose sessions are not confined serve beyond loopback", false},

	{"Contents", "nbconvert-timeout", func(c *Config) any { return &c.Nbconvert.Timeout }, nil,
		"how long the conversion of a notebook into another format may take", false},
	{"Contents", "nbconvert-browser", func(c *Config) any { return &c.Nbconvert.Browser }, nil,
		"browser that makes PDFs (default: the first Chromium, Chrome or Edge that is found, where there is no TeX)", false},
	{"Contents", "nbconvert-browser-args", func(c *Config) any { return &c.Nbconvert.BrowserArgs }, []string{"WebPDFExporter.browser_args"},
		"further arguments for it", false},
	{"Contents", "nbconvert-sandbox", func(c *Config) any { return &c.NbconvertSandbox }, []string{"ServerApp.nbconvert_csp_sandbox"},
		"keep the scripts of converted notebooks from acting as their user", false},

	{"Events", "event-schema-dir", func(c *Config) any { return &c.EventSchemaDir }, nil,
		"folder of further event schemas (YAML or JSON) that clients may emit events of", false},

	{"R Server", "rserver-listen", func(c *Config) any { return &c.RServer.Listen }, nil,
		"further address, host:port, that serves the R Server API alone (its clients expect port 12800)", false},
	{"R Server", "rserver-r-kernel", func(c *Config) any { return &c.RServer.RKernel }, nil,
		"kernelspec for sessions and services in R", false},
	{"R Server", "rserver-python-kernel", func(c *Config) any { return &c.RServer.PythonKernel }, nil,
		"kernelspec for those in Python", false},
	{"R Server", "rserver-warm-sessions", func(c *Config) any { return &c.RServer.WarmSessions }, nil,
		"how many kernels are kept started for the next sessions, of each language that was used", false},
	{"R Server", "rserver-max-sessions", func(c *Config) any { return &c.RServer.MaxSessions }, nil,
		"most sessions at a time", false},
	{"R Server", "rserver-max-service-kernels", func(c *Config) any { return &c.RServer.MaxAllWorkers }, nil,
		"most kernels that all services may have together", false},
	{"R Server", "rserver-allow-unconfined", func(c *Config) any { return &c.RServer.AllowUnconfined }, nil,
		"run the code of accounts with the server's own rights instead of in a sandbox (bubblewrap)", false},
	{"R Server", "rserver-read-only", func(c *Config) any { return &c.RServer.ReadOnly }, nil,
		"further folders that confined code sees, such as libraries of packages", false},

	{"Logs", "log-level", func(c *Config) any { return &c.LogLevel }, nil, "debug, info, warn or error", false},
	{"Logs", "log-format", func(c *Config) any { return &c.LogFormat }, nil, "text or json", false},
}

// addFlags defines every option's flag on top of the default that c holds.
func addFlags(f *pflag.FlagSet, c *Config) {
	f.SortFlags = false
	for _, o := range options {
		switch p := o.bind(c).(type) {
		case *string:
			f.StringVar(p, o.name, *p, o.usage)
		case *bool:
			f.BoolVar(p, o.name, *p, o.usage)
		case *int:
			f.IntVar(p, o.name, *p, o.usage)
		case *int64:
			f.Var((*bytesValue)(p), o.name, o.usage)
		case *float64:
			f.Float64Var(p, o.name, *p, o.usage)
		case *[]string:
			f.StringSliceVar(p, o.name, *p, o.usage)
		case *time.Duration:
			f.Var((*durationValue)(p), o.name, o.usage)
		}
	}
}

// setText sets the option from a variable's text.
func (o option) setText(c *Config, text string) error {
	var err error
	switch p := o.bind(c).(type) {
	case *string:
		*p = text
	case *bool:
		if *p, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
	case *int:
		if *p, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
	case *int64:
		return (*bytesValue)(p).Set(text)
	case *float64:
		if *p, err = strconv.ParseFloat(text, 64); err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
	case *[]string:
		*p = splitList(text)
	case *time.Duration:
		return (*durationValue)(p).Set(text)
	}
	return nil
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// setJSON sets the option from a configuration file's value.
func (o option) setJSON(c *Config, raw json.RawMessage) error {
	p := o.bind(c)
	if d, ok := p.(*time.Duration); ok {
		return setDuration(d, raw)
	}
	if n, ok := p.(*int64); ok {
		return setBytes(n, raw)
	}
	if s, ok := p.(*string); ok && string(raw) == "null" {
		*s = ""
		return nil
	}
	if l, ok := p.(*[]string); ok {
		var one string // Jupyter writes sets of names as lists; people write one name
		if json.Unmarshal(raw, &one) == nil {
			*l = splitList(one)
			return nil
		}
	}
	if err := json.Unmarshal(raw, p); err != nil {
		return fmt.Errorf("should be a JSON %s", jsonType(p))
	}
	return nil
}

func jsonType(p any) string {
	switch p.(type) {
	case *bool:
		return "boolean"
	case *int:
		return "whole number"
	case *float64:
		return "number"
	case *[]string:
		return "list of strings"
	}
	return "string"
}

// defaultText is the option's default as --help and the README show it; "" when there is nothing to show.
func (o option) defaultText() string {
	c := defaultConfig(environment{})
	switch p := o.bind(&c).(type) {
	case *string:
		return *p
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *int64:
		return strconv.FormatInt(*p, 10)
	case *float64:
		return strconv.FormatFloat(*p, 'g', -1, 64)
	case *time.Duration:
		return p.String()
	}
	return ""
}

// writeHelp prints the options by package.
func writeHelp(w io.Writer) {
	fmt.Fprint(w, "nbserv is a Jupyter-compatible notebook server.\n\nUsage:\n  nbserv [flags]\n  nbserv password    ask for a password and print its hash, for --password\n"+
		"  nbserv user        add|list|remove|passwd: accounts for the R Server API\n")
	group := ""
	for _, o := range options {
		if o.group != group {
			group = o.group
			fmt.Fprintf(w, "\n%s:\n", group)
		}
		usage := o.usage
		if d := o.defaultText(); d != "" && d != "false" {
			usage += " (default " + d + ")"
		}
		fmt.Fprintf(w, "  --%-22s %s\n", o.name, usage)
	}
	fmt.Fprint(w, "\nEvery flag is also a variable (--root-dir is NBSERV_ROOT_DIR) and a key of the configuration file.\n"+
		"A flag wins over a variable, a variable over the file, the file over the default.\n"+
		"Exit codes: 0 stopped, 1 failed, 2 wrong usage.\n")
}
