package lab

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/nbserv/nbserv/internal/configsection"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/jupyterpath"
)

// Config says where JupyterLab and its users' files are. The zero value of each folder is where Jupyter has it.
type Config struct {
	// Dir is JupyterLab's application folder: it has static, schemas, themes and settings. Empty: the first that is
	// found (see installation).
	Dir string
	// StaticDir, TemplatesDir, SchemasDir, ThemesDir and AppSettingsDir stand in for parts of Dir.
	StaticDir, TemplatesDir, SchemasDir, ThemesDir, AppSettingsDir string
	// ExtensionDirs are searched for prebuilt extensions before Jupyter's folders, or before OnlyExtensionDirs
	// where they are not nil.
	ExtensionDirs, OnlyExtensionDirs []string
	// UserSettingsDir and WorkspacesDir hold what users change.
	UserSettingsDir, WorkspacesDir string
	// CustomCSS makes JupyterLab's page load custom/custom.css of the user's configuration. Notebook's always does.
	CustomCSS bool
	// BlockedURIs and AllowedURIs are where the lists of extensions are that must not, or may alone, be used.
	BlockedURIs, AllowedURIs []string
	// Live has the page go on, after a reload, with the outputs of cells that still run, by an extension of our own.
	Live bool
	// DefaultURL is where / leads: a path below the base URL.
	DefaultURL string
}

// Validate names the first setting that cannot be.
func (c *Config) Validate() error {
	if u, err := url.Parse(c.DefaultURL); err != nil || !strings.HasPrefix(c.DefaultURL, "/") || u.Host != "" ||
		strings.HasPrefix(c.DefaultURL, "//") || strings.Contains(u.Path, `\`) {
		return errors.New("--default-url: a path of this server, such as /lab, is wanted")
	}
	if len(c.BlockedURIs) > 0 && len(c.AllowedURIs) > 0 {
		return errors.New("--lab-blocked-extensions and --lab-allowed-extensions exclude each other")
	}
	for _, uri := range append(c.BlockedURIs, c.AllowedURIs...) {
		if u, err := url.Parse(uri); err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" {
			return errors.New("--lab-blocked-extensions, --lab-allowed-extensions: addresses that begin with http:, https: or file: are wanted")
		}
	}
	return nil
}

// Kind is what an API path leads to.
type Kind uint8

// The kinds of files.
const (
	Missing Kind = iota // or hidden
	Directory
	Notebook
	File
)

// Server is what Lab needs to know of the server around it. All fields but Prefixes must be set.
type Server struct {
	Config  Config
	BaseURL string            // percent-encoded, a slash at both ends
	Env     map[string]string // the server's environment: where Jupyter's folders are
	// Prefixes are further places where JupyterLab may be installed, as <prefix>/share/jupyter/lab.
	Prefixes func() []string
	// Page is what the pages are told of the server.
	Page PageFacts
	// XSRF makes sure that the answer gives the browser an XSRF token.
	XSRF func(http.ResponseWriter, *http.Request)
	// Fail answers a request for a page with an error, as a page for a person.
	Fail func(http.ResponseWriter, *http.Request, error)
	// Look tells what an API path leads to.
	Look func(ctx context.Context, apiPath string) (Kind, error)
	Log  *slog.Logger
}

// PageFacts are what JupyterLab's pages are told of their server.
type PageFacts struct {
	RootDir       string // absolute
	PreferredDir  string // API path; "" is the root
	AllowHidden   bool
	DeleteToTrash bool
	Terminals     bool
	ServerVersion string // of the jupyter_server whose API is spoken
}

// Lab serves JupyterLab. Make one with New; it is safe for concurrent use.
type Lab struct {
	// immutable
	cfg        Config
	base       string
	userConfig string // Jupyter's folder of the user's configuration
	env        map[string]string
	page       PageFacts
	xsrf       func(http.ResponseWriter, *http.Request)
	fail       func(http.ResponseWriter, *http.Request, error)
	look       func(context.Context, string) (Kind, error)
	log        *slog.Logger
	finder     *finder
	assets     *assets
	schemas    *schemas
	settings   *settings
	workspaces *workspaces
	packs      *packs
	listings   *listings
	lists      map[string]httpx.Handler // by paths that clients write with or without a slash at the end
}

// New makes a Lab. Nothing is read before the first request.
func New(s Server) *Lab {
	c := s.Config
	userConfig := jupyterpath.UserConfig(s.Env)
	settingsDir := cmp.Or(c.UserSettingsDir, s.Env["JUPYTERLAB_SETTINGS_DIR"], filepath.Join(userConfig, "lab", "user-settings"))
	workspacesDir := cmp.Or(c.WorkspacesDir, s.Env["JUPYTERLAB_WORKSPACES_DIR"], filepath.Join(userConfig, "lab", "workspaces"))
	l := &Lab{
		cfg: c, base: s.BaseURL, userConfig: userConfig, env: s.Env, page: s.Page, xsrf: s.XSRF, fail: s.Fail, look: s.Look, log: s.Log,
		finder:     newFinder(c, s.Env, s.Prefixes),
		assets:     newAssets(),
		schemas:    newSchemas(s.Log),
		workspaces: &workspaces{dir: workspacesDir, log: s.Log},
		packs:      &packs{log: s.Log, sites: map[string]siteEntries{}},
		listings:   newListings(c, s.Log),
	}
	l.settings = &settings{dir: settingsDir, log: s.Log}
	l.lists = map[string]httpx.Handler{
		"/lab/api/settings":     l.getSettingsList,
		"/lab/api/workspaces":   l.getWorkspaces,
		"/lab/api/translations": l.getLanguages,
		"/lab/api/licenses":     l.getLicenses,
	}
	return l
}

// Installed tells whether there is a JupyterLab to serve.
func (l *Lab) Installed() bool { return l.finder.find().Lab != nil }

// labConfig reads a section of the files that administrators and users write for JupyterLab, such as page_config.
func (l *Lab) labConfig(in *installation, section string) (configsection.Section, error) {
	dirs := make([]string, len(in.ConfigDirs))
	for i, d := range in.ConfigDirs {
		dirs[i] = filepath.Join(d, "labconfig")
	}
	return configsection.Read(l.log, section, dirs)
}
