package sessions

import (
	"path"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// Session is a document bound to a kernel, at one moment.
type Session struct {
	ID      string // a UUID
	Path    string // an API path, or whatever its client took for one (consoles make one up)
	Name    string // may be ""
	Type    string // "notebook", "console", "file" or a client's own
	Created time.Time
	Kernel  kernel.Status
}

// typeNotebook is the type that has the deprecated "notebook" object in its model.
const typeNotebook = "notebook"

// AppendModel appends s as Jupyter's REST API shows it. Open pages poll the list every few seconds.
func (s Session) AppendModel(b []byte) []byte {
	b = httpx.AppendString(append(b, `{"id":`...), s.ID)
	b = httpx.AppendString(append(b, `,"path":`...), s.Path)
	b = httpx.AppendString(append(b, `,"name":`...), s.Name)
	b = httpx.AppendString(append(b, `,"type":`...), s.Type)
	b = s.Kernel.AppendModel(append(b, `,"kernel":`...))
	if s.Type == typeNotebook {
		b = httpx.AppendString(append(b, `,"notebook":{"path":`...), s.Path)
		b = httpx.AppendString(append(b, `,"name":`...), s.Name)
		b = append(b, '}')
	}
	return append(b, '}')
}

// CreateRequest asks for the session of an identity.
type CreateRequest struct {
	Path string // "": the name is the path
	Name string
	Type string
	// KernelID binds to this kernel while it lives, and names the new one otherwise. "" makes a new id.
	KernelID string
	// KernelName is the kernelspec of a new kernel; "" is the default one.
	KernelName string
	// Start says how a new kernel is started, but for its ID and Spec; nil starts it in the path's folder.
	Start *kernel.StartOptions
}

// complete gives r with its path, or Invalid naming the field that is wrong.
func (r CreateRequest) complete() (CreateRequest, error) {
	if r.Path == "" {
		r.Path = r.Name
	}
	if r.Path == "" {
		return r, fault.New(fault.Invalid, "missing field: path")
	}
	if r.Type == "" {
		return r, fault.New(fault.Invalid, "missing field: type")
	}
	if err := checkKernelID(r.KernelID); err != nil {
		return r, err
	}
	return r, checkTexts(text{"path", r.Path}, text{"name", r.Name}, text{"type", r.Type}, text{"kernel.name", r.KernelName})
}

// Patch says what to change about a session; what is nil or "" stays.
type Patch struct {
	Path, Name, Type *string
	KernelID         string // binds to this kernel, which must live; wins over KernelName
	KernelName       string // starts a new kernel of this kernelspec
}

func (p Patch) check() error {
	row := p.apply(Row{Path: "-", Type: "-"})
	switch {
	case row.Path == "":
		return fault.New(fault.Invalid, "field %q must not be empty", "path")
	case row.Type == "":
		return fault.New(fault.Invalid, "field %q must not be empty", "type")
	}
	if err := checkKernelID(p.KernelID); err != nil {
		return err
	}
	return checkTexts(text{"path", row.Path}, text{"name", row.Name}, text{"type", row.Type},
		text{"kernel.name", p.KernelName})
}

// apply gives row with p's texts.
func (p Patch) apply(row Row) Row {
	if p.Path != nil {
		row.Path = *p.Path
	}
	if p.Name != nil {
		row.Name = *p.Name
	}
	if p.Type != nil {
		row.Type = *p.Type
	}
	return row
}

// maxText bounds each text of a session, in bytes: the length of a path on Linux.
const maxText = 4096

type text struct{ field, value string }

// checkTexts refuses what cannot be stored, shown or handed to a process (JPY_SESSION_NAME).
func checkTexts(texts ...text) error {
	for _, t := range texts {
		switch {
		case len(t.value) > maxText:
			return fault.New(fault.Invalid, "field %q has %d bytes, at most %d are taken", t.field, len(t.value), maxText)
		case strings.ContainsRune(t.value, 0):
			return fault.New(fault.Invalid, "field %q has a NUL", t.field)
		case !utf8.ValidString(t.value):
			return fault.New(fault.Invalid, "field %q is not UTF-8", t.field)
		}
	}
	return nil
}

// kernelID is what a client may choose: it becomes a part of files' names. The Host has the same rule.
var kernelID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

func checkKernelID(id string) error {
	if id != "" && !kernelID.MatchString(id) {
		return fault.New(fault.Invalid, "field %q must be a UUID, or up to 64 letters, digits, '-' and '_'", "kernel.id")
	}
	return nil
}

// placeholder tells whether p is a path that JupyterLab makes up: it creates every session as a UUID in the
// document's folder and renames it to the document at once (@jupyterlab/apputils 4.6, SessionContext).
func placeholder(p string) bool {
	base := path.Base(p)
	return len(base) == 36 && uuid.Validate(base) == nil
}
