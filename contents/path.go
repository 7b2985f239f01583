package contents

import (
	"strings"
	"unicode/utf8"

	"github.com/nbserv/nbserv/internal/fault"
)

// Limits of an API path, in bytes: Linux's NAME_MAX and PATH_MAX. Longer ones could not exist on the disk.
const (
	maxNameBytes = 255
	maxPathBytes = 4096
)

// reservedPrefix begins the names that this package uses for its own files. They are hidden on every verb,
// also when hidden files are allowed.
const reservedPrefix = ".nbserv-"

// Path is an API path that is safe to use below a root: relative, slash-separated, without empty, "." or ".."
// segments. The zero value is the root.
type Path struct{ rel string }

// ParsePath checks an API path as it stands after one URL decoding. Slashes at the ends and repeated ones are
// dropped. A path that could mean something outside the root on any system is Invalid: parent segments
// (behind backslashes too), NUL, drive and UNC forms, text that is not UTF-8, names longer than a file system
// takes. Promise S8: this is the only way from a client's text to a file.
func ParsePath(s string) (Path, error) {
	switch {
	case len(s) > maxPathBytes:
		return Path{}, fault.New(fault.Invalid, "the path has %d bytes, at most %d are taken", len(s), maxPathBytes)
	case !utf8.ValidString(s):
		return Path{}, fault.New(fault.Invalid, "the path is not UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		return Path{}, fault.New(fault.Invalid, "the path contains a NUL")
	}
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == '/' })
	for i, part := range parts {
		if err := checkSegment(part, i == 0); err != nil {
			return Path{}, err
		}
	}
	return Path{rel: strings.Join(parts, "/")}, nil
}

func checkSegment(s string, first bool) error {
	if len(s) > maxNameBytes {
		return fault.New(fault.Invalid, "a name of the path has %d bytes, at most %d are taken", len(s), maxNameBytes)
	}
	if strings.HasPrefix(s, `\\`) || first && isDrive(s) {
		return fault.New(fault.Invalid, "%q is not a relative path", s)
	}
	for name := range strings.SplitSeq(s, `\`) {
		if name == "." || name == ".." {
			return fault.New(fault.Invalid, "%q is not a name: the path may not lead outside the root", name)
		}
	}
	return nil
}

// isDrive tells C:\x and C: from a POSIX name that merely has a colon in it.
func isDrive(s string) bool {
	if len(s) < 2 || s[1] != ':' {
		return false
	}
	c := s[0] | 0x20
	return c >= 'a' && c <= 'z' && (len(s) == 2 || s[2] == '\\')
}

// String is the path as the API shows it: without slashes at its ends; "" is the root.
func (p Path) String() string { return p.rel }

// IsRoot says whether p is the root itself.
func (p Path) IsRoot() bool { return p.rel == "" }

// Name is the last segment, "" for the root.
func (p Path) Name() string { return p.rel[strings.LastIndexByte(p.rel, '/')+1:] }

// Parent is the path without its last segment; the root's parent is the root.
func (p Path) Parent() Path { return Path{rel: p.rel[:max(strings.LastIndexByte(p.rel, '/'), 0)]} }

// Join appends one name. Like ParsePath it refuses what is not a safe name.
func (p Path) Join(name string) (Path, error) {
	if name == "" || strings.ContainsRune(name, '/') {
		return Path{}, fault.New(fault.Invalid, "%q is not a file name", name)
	}
	return ParsePath(p.rel + "/" + name)
}

// join appends a name that is known to be safe.
func (p Path) join(name string) Path {
	if p.rel == "" {
		return Path{rel: name}
	}
	return Path{rel: p.rel + "/" + name}
}

// Contains says whether q is p or lies below it.
func (p Path) Contains(q Path) bool {
	return p.rel == "" || q.rel == p.rel || strings.HasPrefix(q.rel, p.rel+"/")
}

// Hidden says whether any segment begins with a dot.
func (p Path) Hidden() bool {
	return strings.HasPrefix(p.rel, ".") || strings.Contains(p.rel, "/.")
}

// reserved says whether any segment is one of this package's own files.
func (p Path) reserved() bool {
	return strings.HasPrefix(p.rel, reservedPrefix) || strings.Contains(p.rel, "/"+reservedPrefix)
}

// local is the name for an opener: "." for the root.
func (p Path) local() string {
	if p.rel == "" {
		return "."
	}
	return p.rel
}
