package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
)

// tokenFile keeps the token that a server made for itself, so that pages and cookies outlive the server.
const tokenFile = "token"

// madeToken is what a token that is kept looks like: long enough that nobody guesses it.
var madeToken = regexp.MustCompile(`^[0-9a-f]{32,128}$`)

// KeepToken gives the token that is kept in the state folder dir, or keeps fresh there, which must be hexadecimal. A
// file that others could have read, or that is damaged, is replaced.
func KeepToken(dir, fresh string, log *slog.Logger) (token string, err error) {
	path := filepath.Join(dir, tokenFile)
	old, why := readPrivate(path)
	if why == "" && madeToken.MatchString(old) {
		return old, nil
	}
	if why == "" {
		why = "damaged"
	}
	if !errors.Is(statErr(path), fs.ErrNotExist) {
		log.Warn("the server's token is a new one", "err", why)
	}
	if err := writeSecret(path, []byte(fresh+"\n")); err != nil {
		return "", fmt.Errorf("keep the token: %w", err)
	}
	return fresh, nil
}

// ForgetToken removes the token that is kept in dir: another credential was configured, and what the old one opened
// must not open again when that is taken back (S5).
func ForgetToken(dir string) error {
	err := os.Remove(filepath.Join(dir, tokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
