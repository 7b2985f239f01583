package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	secretFile   = "cookie_secret"
	passwordFile = "password.json"
	secretBytes  = 32
)

// credentials are what lets clients in at one time, and the key that their cookies are signed with.
type credentials struct {
	// immutable
	token     [sha256.Size]byte // of the token; a digest makes the comparison independent of lengths
	hasToken  bool
	longToken bool   // too long to be guessed
	stamp     int64  // of Admin: see Accounts
	hash      string // of the password; "" without one
	verify    func(password string) bool
	macs      sync.Pool // of *macer

	mu     sync.Mutex
	opened map[sealed]ticket // cookies that were good, as long as these credentials are; guarded by mu
}

// longToken is the length from which a token is taken for one that no throttle need protect: 32 hex digits.
const longToken = 32

// newCredentials derives the cookie key from the secret and all that lets clients in: a change of any ends all
// cookies (S5).
func newCredentials(secret []byte, token, hash string) (*credentials, error) {
	c := &credentials{token: sha256.Sum256([]byte(token)), hasToken: token != "", longToken: len(token) >= longToken, hash: hash,
		opened: make(map[sealed]ticket)}
	if hash != "" {
		var err error
		if c.verify, err = parseHash(hash); err != nil {
			return nil, err
		}
	}
	derive := func(purpose string) []byte {
		key := hmac.New(sha256.New, secret)
		fmt.Fprintf(key, "%s %q %q", purpose, token, hash)
		return key.Sum(nil)
	}
	c.stamp = int64(binary.BigEndian.Uint64(derive("account")))
	sum := derive("login cookie")
	c.macs.New = func() any { return &macer{hash: hmac.New(sha256.New, sum)} }
	return c, nil
}

// tokenIs compares in constant time.
func (c *credentials) tokenIs(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return c.hasToken && subtle.ConstantTimeCompare(sum[:], c.token[:]) == 1
}

// macer computes MACs, and has the memory for one cookie.
type macer struct {
	hash hash.Hash // keyed
	sum  []byte
	line []byte
}

// separator stands in no cookie's name.
var separator = []byte{0}

// mac is the MAC over a cookie's name and body. It is valid until the next call.
func (m *macer) mac(name string, body []byte) []byte {
	m.hash.Reset()
	_, _ = io.WriteString(m.hash, name)
	_, _ = m.hash.Write(separator)
	_, _ = m.hash.Write(body)
	m.sum = m.hash.Sum(m.sum[:0])
	return m.sum
}

// loadSecret reads the cookie secret, or makes one. One that others could have read, or that is damaged, is
// replaced; that ends all cookies.
func loadSecret(dir string, log *slog.Logger) ([]byte, error) {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	if dir == "" {
		return secret, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	path := filepath.Join(dir, secretFile)
	old, why := readSecret(path)
	if why == "" {
		return old, nil
	}
	if !errors.Is(statErr(path), fs.ErrNotExist) {
		log.Warn("cookie secret replaced, everybody has to log in again", "err", why)
	}
	if err := writeSecret(path, []byte(base64.StdEncoding.EncodeToString(secret)+"\n")); err != nil {
		return nil, fmt.Errorf("keep the cookie secret: %w", err)
	}
	return secret, nil
}

func statErr(path string) error {
	_, err := os.Lstat(path)
	return err
}

// readSecret gives the secret in a file, or why it cannot be used.
func readSecret(path string) (secret []byte, why string) {
	text, why := readPrivate(path)
	if why != "" {
		return nil, why
	}
	secret, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(secret) != secretBytes {
		return nil, "damaged"
	}
	return secret, ""
}

// readPrivate gives the one line in a file that nobody else can read, or why it cannot be used.
func readPrivate(path string) (line, why string) {
	st, err := os.Lstat(path)
	switch {
	case err != nil:
		return "", err.Error()
	case !st.Mode().IsRegular():
		return "", "not a regular file"
	case st.Mode().Perm()&0o077 != 0:
		return "", "others can read it"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err.Error()
	}
	return strings.TrimSpace(string(text)), ""
}

// storedPassword is a password set on the login page. It stands for the configured one as long as that is the same
// as it was then: an operator who configures another means it.
type storedPassword struct {
	Hash     string `json:"hash"`
	Replaces string `json:"replaces"` // fingerprint of the configured hash
}

func fingerprint(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:])
}

// currentHash is the password hash that counts: the stored one, else the configured one.
func currentHash(cfg *Config, log *slog.Logger) (string, error) {
	if cfg.StateDir == "" {
		return cfg.PasswordHash, nil
	}
	text, err := os.ReadFile(filepath.Join(cfg.StateDir, passwordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return cfg.PasswordHash, nil
	}
	var stored storedPassword
	if err == nil {
		err = json.Unmarshal(text, &stored)
	}
	if err == nil && stored.Replaces != fingerprint(cfg.PasswordHash) {
		log.Warn("a newly configured password replaces the one set on the login page")
		return cfg.PasswordHash, nil
	}
	if err == nil {
		_, err = parseHash(stored.Hash)
	}
	if err != nil {
		// Falling back to the configured password, perhaps to none, could let in whom the stored one kept out.
		return "", fmt.Errorf("the password set on the login page cannot be read; mend or remove %s in the state folder: %w", passwordFile, err)
	}
	return stored.Hash, nil
}

// storePassword keeps a new password for this and later processes.
func storePassword(cfg *Config, hash string) error {
	if cfg.StateDir == "" {
		return nil
	}
	text, _ := json.Marshal(storedPassword{hash, fingerprint(cfg.PasswordHash)}) // strings: cannot fail
	return writeSecret(filepath.Join(cfg.StateDir, passwordFile), append(text, '\n'))
}

// writeSecret replaces a 0600 file whole, and returns when it would survive a power cut.
func writeSecret(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
