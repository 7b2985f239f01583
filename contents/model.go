package contents

import (
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Type is what a model describes.
type Type string

// The types of Jupyter's contents models.
const (
	TypeFile      Type = "file"
	TypeDirectory Type = "directory"
	TypeNotebook  Type = "notebook"
)

// Format is how a model carries content.
type Format string

// The formats: text and base64 for files, json for notebooks and directories.
const (
	FormatText   Format = "text"
	FormatBase64 Format = "base64"
	FormatJSON   Format = "json"
)

// HashAlgorithm is the one used for the hash of a model.
const HashAlgorithm = "sha256"

// Content writes itself as one JSON value. WriteJSON is called at most once, Close always.
type Content interface {
	WriteJSON(w io.Writer) error
	Close() error
}

// Model is a file or directory as clients see it.
type Model struct {
	Name         string
	Path         string
	Type         Type
	LastModified time.Time
	Created      time.Time // on Linux the time of the last change of the inode, as jupyter_server has it
	Format       Format    // "" without content
	Mimetype     string    // "" when unknown
	Size         int64     // bytes; below 0 for a directory
	Writable     bool
	Hash         string  // hexadecimal, "" when not asked for
	Message      string  // why a notebook is not valid
	Content      Content // nil when not asked for
	ETag         string  // changes with every change of the file
}

// Close releases the content, if there is any.
func (m *Model) Close() error {
	if m.Content == nil {
		return nil
	}
	return m.Content.Close()
}

// WriteJSON writes the model, its content streamed.
func (m *Model) WriteJSON(w io.Writer) error {
	b := m.appendHead(make([]byte, 0, 512))
	if m.Content == nil {
		b = append(b, "null"...)
	} else {
		if _, err := w.Write(b); err != nil {
			return err
		}
		if err := m.Content.WriteJSON(w); err != nil {
			return err
		}
		b = b[:0]
	}
	_, err := w.Write(m.appendTail(b))
	return err
}

func (m *Model) appendHead(b []byte) []byte {
	b = append(b, `{"name":`...)
	b = appendString(b, m.Name)
	b = append(b, `,"path":`...)
	b = appendString(b, m.Path)
	b = append(b, `,"last_modified":`...)
	b = appendTime(b, m.LastModified)
	b = append(b, `,"created":`...)
	b = appendTime(b, m.Created)
	return append(b, `,"content":`...)
}

func (m *Model) appendTail(b []byte) []byte {
	b = append(b, `,"format":`...)
	b = appendNullable(b, string(m.Format))
	b = append(b, `,"mimetype":`...)
	b = appendNullable(b, m.Mimetype)
	b = append(b, `,"size":`...)
	if m.Size < 0 {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, m.Size, 10)
	}
	b = append(b, `,"writable":`...)
	b = strconv.AppendBool(b, m.Writable)
	b = append(b, `,"hash":`...)
	b = appendNullable(b, m.Hash)
	b = append(b, `,"hash_algorithm":`...)
	if m.Hash == "" {
		b = append(b, "null"...)
	} else {
		b = append(b, `"`+HashAlgorithm+`"`...)
	}
	b = append(b, `,"type":`...)
	b = appendString(b, string(m.Type))
	if m.Message != "" {
		b = append(b, `,"message":`...)
		b = appendString(b, m.Message)
	}
	return append(b, '}')
}

func appendNullable(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

// appendTime writes a time as Python's isoformat does: microseconds, none when they are zero. It is called
// twice for each entry of a listing.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(b, '"')
	b = append(appendDigits(b, year, 4), '-')
	b = append(appendDigits(b, int(month), 2), '-')
	b = append(appendDigits(b, day, 2), 'T')
	b = append(appendDigits(b, hour, 2), ':')
	b = append(appendDigits(b, minute, 2), ':')
	b = appendDigits(b, second, 2)
	if micro := t.Nanosecond() / 1000; micro > 0 {
		b = appendDigits(append(b, '.'), micro, 6)
	}
	return append(b, 'Z', '"')
}

// appendDigits writes n with leading zeros.
func appendDigits(b []byte, n, width int) []byte {
	b = append(b, "000000"[:width]...)
	for i := len(b) - 1; n > 0; i, n = i-1, n/10 {
		b[i] = byte('0' + n%10)
	}
	return b
}

// describe makes a model of a name from its stat. The content is left out.
func describe(p Path, st *unix.Stat_t, writable bool) *Model {
	m := &Model{
		Name:         p.Name(),
		Path:         p.rel,
		Type:         typeOf(p.Name(), st),
		LastModified: timeOf(st.Mtim),
		Created:      timeOf(createdOf(st)),
		Size:         st.Size,
		Writable:     writable,
	}
	switch m.Type {
	case TypeDirectory:
		m.Size = -1
	case TypeFile:
		m.Mimetype = mimetype(m.Name)
	}
	m.ETag = etag(st)
	return m
}

func typeOf(name string, st *unix.Stat_t) Type {
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return TypeDirectory
	case strings.HasSuffix(name, ".ipynb"):
		return TypeNotebook
	}
	return TypeFile
}

func timeOf(ts unix.Timespec) time.Time {
	t := time.Unix(int64(ts.Sec), int64(ts.Nsec))
	if y := t.UTC().Year(); y < 1 || y > 9999 { // no ISO form: a broken clock's file is still listed
		return time.Unix(0, 0)
	}
	return t
}

// etag names one state of one file: its inode, size, and times of modification and change.
func etag(st *unix.Stat_t) string {
	b := make([]byte, 0, 64)
	b = append(b, '"')
	for i, v := range []int64{int64(st.Ino), st.Size, st.Mtim.Nano(), st.Ctim.Nano()} {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendInt(b, v, 36)
	}
	return string(append(b, '"'))
}

// splitExt separates the last extension, Python's way: a leading dot begins no extension.
func splitExt(name string) (base, ext string) {
	ext = path.Ext(name)
	if ext == name {
		return name, ""
	}
	return name[:len(name)-len(ext)], ext
}
