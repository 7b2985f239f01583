package main

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/lab"
	"github.com/nbserv/nbserv/internal/lsp"
	"github.com/nbserv/nbserv/internal/nbconvert"
	"github.com/nbserv/nbserv/internal/terminals"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions/overlay"
	"github.com/nbserv/nbserv/ws"
)

// Config is everything that can be set, by flag, variable or file. The options table binds each field.
type Config struct {
	// Server
	IP             string        // address to listen on: a numeric address, "localhost", or "*" for all
	Port           int           // 0 lets the operating system choose
	PortRetries    int           // how many ports after Port to try when it is taken
	BaseURL        string        // path prefix of every route, as in a URL; normalised to begin and end with "/"
	RootDir        string        // the folder of notebooks and files
	StateDir       string        // what must survive a restart of the server
	ConfigFile     string        // JSON; see configfile.go
	CertFile       string        // PEM; with KeyFile, serve HTTPS
	KeyFile        string        // PEM
	TrustedProxies []string      // addresses or CIDR networks whose X-Forwarded-* headers are believed
	StopTimeout    time.Duration // how long a graceful stop may take; P15
	MetricsAuth    bool          // /metrics asks for credentials

	Auth   auth.Config
	NoAuth bool // serve a public address without authentication

	Kernels        kernel.Config
	KernelHost     string // spawnHost, inProcess or a socket's path
	KeepKernels    bool   // kernels go on when the server is stopped
	DefaultKernel  string
	AllowedKernels []string // kernelspecs that may be used; empty: all
	NativeKernel   bool     // an ipykernel without a kernelspec is offered as python3
	WebSockets     ws.Config

	Contents contents.Config
	Overlays overlay.Config

	Lab lab.Config

	Terminals terminals.Config

	LanguageServers lsp.Config
	EventSchemaDir  string // further event schemas

	Nbconvert        nbconvert.Config
	NbconvertSandbox bool // pages made of notebooks are kept from acting as their user

	ImageStore ImageStoreConfig
	RServer    RServerConfig

	CodeInterpreter CodeInterpreterConfig

	// Logs
	LogLevel  string
	LogFormat string

	trusted []netip.Prefix // TrustedProxies, parsed

	madeToken bool // Auth.Token is one of our own making

	env    environment
	given  map[string]bool // names of options that flag, variable or file set
	limits limits
}

func defaultConfig(env environment) Config {
	return Config{
		IP:          "localhost",
		Port:        8888,
		PortRetries: 50,
		BaseURL:     "/",
		StopTimeout: 10 * time.Second,
		MetricsAuth: true,
		Auth:        auth.Config{AllowPasswordChange: true},
		Kernels: kernel.Config{
			StartTimeout: time.Minute,
			ShutdownWait: 5 * time.Second,
			CullInterval: 5 * time.Minute,
			DetachedTTL:  time.Hour,

			Journal:       kernel.JournalLimits{DiskBytes: kernel.DefaultJournalBytes},
			JournalsBytes: kernel.DefaultJournalsBytes,
		},
		KernelHost:    spawnHost,
		DefaultKernel: "python3",
		WebSockets:    ws.DefaultConfig(),
		Contents:      contents.DefaultConfig(),
		Lab:           lab.Config{DefaultURL: "/lab", Live: true},
		Overlays:      overlay.DefaultConfig(),
		Terminals:     terminals.DefaultConfig(),

		LanguageServers: lsp.DefaultConfig(),
		Nbconvert:       nbconvert.Config{Timeout: 5 * time.Minute},

		NbconvertSandbox: true,
		CodeInterpreter:  CodeInterpreterConfig{DefaultPool: "python", MaxUpload: 128 << 20, Keep: time.Hour},
		RServer:          defaultRServer(),
		LogLevel:         "info",
		LogFormat:        "text",
		env:              env,
		limits:           defaultLimits(),
	}
}

// complete fills in what the flags left open: from NBSERV_* variables, then from configuration files, then by
// default. It gives notes for the log (settings that were understood as nothing), and an error that names the
// flag, variable or file to mend.
func (c *Config) complete(flags *pflag.FlagSet, env environment) (notes []string, err error) {
	c.env, c.given = env, map[string]bool{}
	for _, o := range options {
		switch v, ok := env.vars[o.env()]; {
		case flags.Changed(o.name):
			c.given[o.name] = true
		case ok:
			if err := o.setText(c, v); err != nil {
				return nil, fmt.Errorf("%s: %w", o.env(), err)
			}
			c.given[o.name] = true
		}
	}
	if notes, err = c.readFiles(); err != nil {
		return nil, err
	}
	if err := c.resolve(); err != nil {
		return nil, err
	}
	return notes, c.validate()
}

// resolve computes the defaults that depend on other settings, and normalises what has more than one spelling.
func (c *Config) resolve() error {
	if c.IP == "" || c.IP == "*" {
		c.IP = "0.0.0.0"
	}
	var err error
	if c.RootDir, err = filepath.Abs(c.RootDir); err != nil {
		return fmt.Errorf("--root-dir: %w", err)
	}
	if !c.given["token"] && c.Auth.PasswordHash == "" {
		// Jupyter's own variable, known from its container images.
		if c.Auth.Token = c.env.vars["JUPYTER_TOKEN"]; c.Auth.Token == "" {
			c.Auth.Token, c.madeToken = newToken(), true
		}
	}
	if c.BaseURL, err = normaliseBaseURL(c.BaseURL); err != nil {
		return err
	}
	c.Kernels.RootDir = c.RootDir
	c.Contents.RootDir, c.Contents.BaseURL = c.RootDir, c.BaseURL
	if c.ImageStore.Dir == "" {
		c.ImageStore.Dir = c.RootDir
	}
	c.Contents.TrashDir = filepath.Join(c.env.dataHome(), "Trash")
	c.Auth.BaseURL = c.BaseURL
	c.Auth.PublicMetrics = !c.MetricsAuth
	c.Auth.Dialects = []auth.Dialect{imageStoreDialect, c.rserverDialect(), codeInterpreterDialect}
	// Who listens to the network is meant to be reached by names that only the network knows.
	c.Auth.AllowRemoteAccess = c.Auth.AllowRemoteAccess || !c.loopback()
	if err := c.resolveCodeInterpreter(); err != nil {
		return err
	}
	c.trusted, err = parseNetworks(c.TrustedProxies)
	return err
}

// parseNetworks reads addresses and CIDR networks.
func parseNetworks(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, t := range texts {
		if addr, err := netip.ParseAddr(t); err == nil {
			all = append(all, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxies: %q is neither an address nor a network such as 10.0.0.0/8", t)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// newToken makes a token that cannot be guessed: 192 bits.
func newToken() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return hex.EncodeToString(b)
}

// normaliseBaseURL gives base with one slash in front and one at the end, percent-encoded as it came.
func normaliseBaseURL(base string) (string, error) {
	u, err := url.Parse("/" + strings.TrimLeft(base, "/"))
	if err != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(base, "//") {
		return "", fmt.Errorf("--base-url: %q is not the path of a URL", base)
	}
	if strings.Count(u.EscapedPath(), "/") != strings.Count(u.Path, "/") || strings.ContainsAny(u.Path, "\\\x00") {
		return "", fmt.Errorf("--base-url: %q has an encoded slash, a backslash or a NUL", base)
	}
	for seg := range strings.SplitSeq(u.Path, "/") {
		if seg == "." || seg == ".." {
			return "", fmt.Errorf("--base-url: %q has a dot segment", base)
		}
	}
	return strings.TrimRight(u.EscapedPath(), "/") + "/", nil
}

// noAuth tells whether anybody is let in.
func (c *Config) noAuth() bool { return c.Auth.Token == "" && c.Auth.PasswordHash == "" }

func (c *Config) loopback() bool {
	if c.IP == "localhost" {
		return true
	}
	ip := net.ParseIP(c.IP)
	return ip != nil && ip.IsLoopback()
}

// validate names the first option that cannot be.
func (c *Config) validate() error {
	switch {
	case c.IP != "localhost" && net.ParseIP(c.IP) == nil:
		return fmt.Errorf("--ip: %q is not an IP address, localhost or *", c.IP)
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("--port: %d is not between 0 and 65535", c.Port)
	case c.PortRetries < 0:
		return fmt.Errorf("--port-retries: %d is negative", c.PortRetries)
	case (c.CertFile == "") != (c.KeyFile == ""):
		return fmt.Errorf("--certfile and --keyfile go together")
	case c.Nbconvert.Timeout <= 0:
		return fmt.Errorf("--nbconvert-timeout: %v is not positive", c.Nbconvert.Timeout)
	case c.KernelHost != spawnHost && c.KernelHost != inProcess && !filepath.IsAbs(c.KernelHost):
		return fmt.Errorf("--kernel-host: %q is neither %s nor %s nor the absolute path of a socket", c.KernelHost, spawnHost, inProcess)
	case c.StopTimeout <= 0:
		return fmt.Errorf("--stop-timeout: %v is not positive", c.StopTimeout)
	case c.noAuth() && !c.loopback() && !c.NoAuth:
		return fmt.Errorf("--ip=%s without a token or a password would let anybody on the network run code as you; "+
			"set --token or --password, or say --insecure-no-auth", c.IP)
	}
	return cmp.Or(c.Contents.Validate(), c.Overlays.Validate(), c.Terminals.Validate(), c.LanguageServers.Validate(), c.Auth.Validate(), c.Kernels.Validate(), c.WebSockets.Validate(), c.Lab.Validate(), c.validateImageStore(), c.validateRServer(), c.validateCodeInterpreter())
}
