package lab

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	settingsExt = ".jupyterlab-settings"
	// maxSettingsBytes bounds one plugin's settings. People write a few KB; keyboard shortcuts may be 100 KB (guess).
	maxSettingsBytes = 4 << 20
	// brokenExt is added to the name of a settings file that could not be read when it is replaced.
	brokenExt = ".broken"
)

// settings are what users set, one file a plugin, as they wrote it: JSON5, comments included. Files and names are
// jupyterlab_server's. Safe for concurrent use.
type settings struct {
	dir string
	log *slog.Logger

	mu sync.Mutex // held while a file is replaced
}

// userSettings are one plugin's settings.
type userSettings struct {
	Raw      string          // the text of the file
	Parsed   json.RawMessage // the same as JSON
	Modified *string         // nil: nothing was ever set
	Created  *string
	Problem  *string // why what the file says is not used
}

// noSettings is what a plugin has that nobody set anything for.
var noSettings = userSettings{Raw: "{}", Parsed: json.RawMessage("{}")}

func (s *settings) path(id string) string {
	pkg, plugin, _ := strings.Cut(id, ":")
	return filepath.Join(s.dir, filepath.FromSlash(pkg), plugin+settingsExt)
}

// get reads the settings of a plugin whose schema is sc. Those that cannot be read or do not fit count as none, with a
// note in the log: a page that gets wrong settings, or an error, does not start.
func (s *settings) get(id string, sc json.RawMessage) userSettings {
	u, err := s.read(id)
	if err == nil && string(u.Parsed) != noSettings.Raw { // most plugins have none, and schemas take long to compile
		err = validate(sc, u.Parsed)
	}
	switch {
	case errors.Is(err, errUncheckable):
		s.log.Warn("settings are not checked", "path", s.path(id), "err", err)
	case err != nil:
		s.log.Warn("settings are not used", "path", s.path(id), "err", err)
		problem := "the settings are not used: " + fault.Message(err)
		u.Raw, u.Parsed, u.Problem = noSettings.Raw, noSettings.Parsed, &problem
	}
	return u
}

func (s *settings) read(id string) (userSettings, error) {
	f, err := os.OpenFile(s.path(id), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return noSettings, nil
	}
	if err != nil {
		return noSettings, fault.OS(err, "the settings of "+id)
	}
	defer f.Close()
	return readSettings(f)
}

// readSettings reads a file. With an error it gives the file's times all the same.
func readSettings(f *os.File) (userSettings, error) {
	info, err := f.Stat()
	if err != nil {
		return userSettings{}, err
	}
	var u userSettings
	u.Modified, u.Created = fileTimes(f)
	raw, err := readAtMost(f, info, maxSettingsBytes)
	if err != nil {
		return u, err
	}
	u.Raw = string(raw)
	if strings.TrimSpace(u.Raw) == "" {
		u.Raw = noSettings.Raw
	}
	if u.Parsed, err = fromJSON5([]byte(u.Raw)); err == nil && !isObject(u.Parsed) {
		err = errNoObject
	}
	return u, err
}

// put replaces the settings of a plugin whose schema is sc by raw. Text that is no JSON5 object or does not fit is
// Invalid. A file that could not be read, because somebody mistyped in it, is kept beside the new one.
func (s *settings) put(id string, sc json.RawMessage, raw string) error {
	parsed, err := fromJSON5([]byte(raw))
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the settings are not JSON5: %s", fault.Message(err))
	}
	if !isObject(parsed) {
		return fault.New(fault.Invalid, "the settings should be an object")
	}
	if err := validate(sc, parsed); errors.Is(err, errUncheckable) {
		s.log.Warn("settings are not checked", "path", s.path(id), "err", err)
	} else if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.path(id)
	if f, err := os.Open(path); err == nil {
		if _, err := readSettings(f); err != nil {
			s.log.Warn("a settings file that could not be read is kept beside the new one", "path", path+brokenExt, "err", err)
			_ = os.Rename(path, path+brokenExt) // else it is replaced, as was asked for
		}
		_ = f.Close() // it was only read
	}
	return fault.OS(replaceFile(path, []byte(raw)), "the settings of "+id)
}
