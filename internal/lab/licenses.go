package lab

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	licenseFile     = "third-party-licenses.json"
	unknown         = "UNKNOWN"
	maxPatternBytes = 1 << 10
)

// licenseBundle is what one application or extension consists of.
type licenseBundle struct {
	Packages []licensedPackage `json:"packages"`
}

// licensedPackage is a package as the builders of extensions note it.
type licensedPackage struct {
	Name          string `json:"name"`
	Version       string `json:"versionInfo"`
	License       string `json:"licenseId"`
	ExtractedText string `json:"extractedText"`
}

// licenses collects the bundles whose names match a pattern from the beginning on. A pattern that is no regular
// expression is Invalid.
func (l *Lab) licenses(in *installation, pattern string) (map[string]licenseBundle, error) {
	if len(pattern) > maxPatternBytes {
		return nil, fault.New(fault.Invalid, "bundles: the pattern is longer than %d bytes", maxPatternBytes)
	}
	match, err := regexp.Compile("^(?:" + pattern + ")")
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "bundles: %.200q is no regular expression", pattern)
	}
	all := map[string]licenseBundle{}
	for _, e := range findExtensions(in.Extensions, l.log) {
		if match.MatchString(e.Package.Name) {
			all[e.Package.Name] = l.licenseBundle(e.Dir, filepath.Join(e.Dir, "static"))
		}
	}
	for _, app := range []*application{in.Lab, in.Notebook} {
		if app == nil {
			continue
		}
		if name := app.packageName(); name != "" && match.MatchString(name) {
			all[name] = l.licenseBundle(app.Static, filepath.Join(app.Static, "static"))
		}
	}
	return all, nil
}

// packageName is the name in the application's package.json, beside its static files or above them; "" if there is none.
func (a *application) packageName() string {
	for _, dir := range []string{a.Static, filepath.Dir(a.Static)} {
		var pkg struct {
			Name string `json:"name"`
		}
		if raw, err := os.ReadFile(filepath.Join(dir, "package.json")); err == nil && json.Unmarshal(raw, &pkg) == nil {
			return pkg.Name
		}
	}
	return ""
}

// licenseBundle reads the files of licenses in dirs.
func (l *Lab) licenseBundle(dirs ...string) licenseBundle {
	b := licenseBundle{Packages: []licensedPackage{}}
	for _, dir := range dirs {
		raw, err := os.ReadFile(filepath.Join(dir, licenseFile))
		if os.IsNotExist(err) {
			continue
		}
		var some licenseBundle
		if err == nil {
			err = json.Unmarshal(raw, &some)
		}
		if err != nil {
			l.log.Warn("a file of licenses cannot be used", "path", dir, "err", err)
		}
		b.Packages = append(b.Packages, some.Packages...)
	}
	return b
}

// licenseReport is how a report is written.
type licenseReport struct {
	contentType, ext string
	write            func(bundles map[string]licenseBundle, fullText bool) ([]byte, error)
}

// licenseReports are the formats by the name in the query.
var licenseReports = map[string]licenseReport{
	"json":     {"application/json", ".json", licensesJSON},
	"csv":      {"text/csv", ".csv", licensesCSV},
	"markdown": {"text/markdown", ".md", licensesMarkdown},
}

func licensesJSON(bundles map[string]licenseBundle, _ bool) ([]byte, error) {
	return json.MarshalIndent(map[string]any{"bundles": bundles}, "", "  ")
}

func licensesCSV(bundles map[string]licenseBundle, _ bool) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true // RFC 4180
	rows := [][]string{{"bundle", "name", "versionInfo", "licenseId", "extractedText"}}
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		for _, p := range bundles[name].Packages {
			rows = append(rows, []string{name, p.Name, p.Version, p.License, p.ExtractedText})
		}
	}
	err := w.WriteAll(rows)
	return b.Bytes(), err
}

func licensesMarkdown(bundles map[string]licenseBundle, fullText bool) ([]byte, error) {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		fmt.Fprintf(&b, "# %s\n\n", name)
		if len(bundles[name].Packages) == 0 {
			b.WriteString("> No licenses found\n\n")
		}
		for _, p := range bundles[name].Packages {
			fmt.Fprintf(&b, "## **%s**\t`%s`\t%s\n\n", cmp.Or(p.Name, unknown), cmp.Or(p.Version, unknown), cmp.Or(p.License, unknown))
			switch {
			case fullText && p.ExtractedText == "":
				b.WriteString("> No license text available\n\n")
			case fullText:
				fmt.Fprintf(&b, "<pre>\n%s\n</pre>\n\n", p.ExtractedText)
			}
		}
	}
	return b.Bytes(), nil
}
