package lab

import (
	"cmp"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/nbserv/nbserv/internal/httpx"
)

// extensionModel is an extension as JupyterLab's extension manager shows it.
type extensionModel struct {
	Name             string          `json:"name"`
	Description      string          `json:"description"`
	HomepageURL      string          `json:"homepage_url"`
	PackageType      string          `json:"pkg_type"`
	Allowed          bool            `json:"allowed"`
	Approved         bool            `json:"approved"`
	Companion        *string         `json:"companion"`
	Core             bool            `json:"core"`
	Enabled          bool            `json:"enabled"`
	Install          json.RawMessage `json:"install"`
	Installed        bool            `json:"installed"`
	InstalledVersion string          `json:"installed_version"`
	LatestVersion    string          `json:"latest_version"`
	Status           string          `json:"status"`
	Author           *string         `json:"author"`
	License          *string         `json:"license"`
	BugTrackerURL    *string         `json:"bug_tracker_url"`
	DocumentationURL *string         `json:"documentation_url"`
	ManagerURL       *string         `json:"package_manager_url"`
	RepositoryURL    *string         `json:"repository_url"`
}

// getExtensions lists the extensions that are installed. Others cannot be searched for, as none can be installed here:
// that is done with pip, and seen when the page is loaded again.
func (l *Lab) getExtensions(w http.ResponseWriter, r *http.Request) error {
	list := []extensionModel{}
	if r.URL.Query().Get("query") != "" {
		return httpx.WriteJSON(w, http.StatusOK, list)
	}
	in := l.finder.find()
	var off []string
	if in.Lab != nil {
		overlay, err := l.pageOverlay(in)
		if err != nil {
			return err
		}
		_ = json.Unmarshal(overlay.get(disabledKey), &off) // a list of ours
	}
	for _, e := range findExtensions(in.Extensions, l.log) {
		list = append(list, e.model(!slices.Contains(off, e.Package.Name)))
	}
	return httpx.WriteJSON(w, http.StatusOK, list)
}

func (e *extension) model(enabled bool) extensionModel {
	p := &e.Package
	m := extensionModel{
		Name: p.Name, Description: string(p.Description), PackageType: "prebuilt", Allowed: true, Enabled: enabled, Installed: true,
		HomepageURL: cmp.Or(string(p.Homepage), valueIn(p.Repository, "url")), Install: e.Install, Status: "ok",
		InstalledVersion: npmVersion(string(p.Version)), LatestVersion: npmVersion(string(p.Version)),
		Author: optional(valueIn(p.Author, "name")), License: optional(string(p.License)),
		BugTrackerURL: optional(valueIn(p.Bugs, "url")), RepositoryURL: optional(valueIn(p.Repository, "url")),
	}
	if m.Install == nil {
		m.Install = json.RawMessage("{}")
	}
	discovery, _ := parseObject(p.JupyterLab.Discovery)      // anything else says nothing
	for _, companion := range []string{"kernel", "server"} { // the server's weighs more
		if discovery.get(companion) != nil {
			m.Companion = &companion
		}
	}
	return m
}

// valueIn is raw's text, or that of its member key.
func valueIn(raw json.RawMessage, key string) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	o, _ := parseObject(raw) // anything else says nothing
	return o.text(key)
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

var (
	postRelease = regexp.MustCompile(`\.(?:dev|post)\d+`)
	preRelease  = regexp.MustCompile(`(a|b|rc)(\d+)$`)
)

// npmVersion spells a Python version as npm does.
func npmVersion(v string) string {
	return preRelease.ReplaceAllStringFunc(postRelease.ReplaceAllString(v, ""), func(s string) string {
		word := map[byte]string{'a': "-alpha.", 'b': "-beta.", 'r': "-rc."}[s[0]]
		return word + strings.TrimLeft(s, "abrc")
	})
}
