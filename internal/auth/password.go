package auth

import (
	"crypto/rand"
	"crypto/sha1" // only to verify what Jupyter once wrote
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost of the hashes made here: OWASP's second recommendation for argon2id (19 MiB, two passes).
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
)

// Most that a configured hash may cost to verify.
const (
	maxArgonMemory = 1 << 20 // KiB
	maxArgonTime   = 100
)

// HashPassword makes the hash of a password in the form that jupyter_server writes and reads.
func HashPassword(password string) string {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("argon2:$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, argonMemory, argonTime, argonThreads, enc(salt), enc(key))
}

// parseHash makes the function that verifies passwords against a stored hash.
func parseHash(s string) (verify func(password string) bool, err error) {
	if phc := strings.TrimPrefix(s, "argon2:"); strings.HasPrefix(phc, "$") {
		return parseArgon(phc)
	}
	algorithm, rest, _ := strings.Cut(s, ":")
	salt, digest, ok := strings.Cut(rest, ":")
	var newHash func() hash.Hash
	switch algorithm {
	case "sha1":
		newHash = sha1.New
	case "sha256":
		newHash = sha256.New
	case "sha512":
		newHash = sha512.New
	default:
		return nil, errors.New("it has to begin with argon2:$argon2id$")
	}
	want, err := hex.DecodeString(digest)
	if !ok || err != nil || len(want) != newHash().Size() {
		return nil, fmt.Errorf("it is no %s:salt:hash", algorithm)
	}
	return func(password string) bool {
		h := newHash()
		_, _ = h.Write([]byte(password + salt))
		return subtle.ConstantTimeCompare(h.Sum(nil), want) == 1
	}, nil
}

// parseArgon reads $argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<key>.
func parseArgon(phc string) (verify func(password string) bool, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 {
		return nil, errors.New("an argon2 hash has five parts, each after a $")
	}
	derive := argon2.IDKey
	switch parts[1] {
	case "argon2id":
	case "argon2i":
		derive = argon2.Key
	default:
		return nil, fmt.Errorf("%.20q is neither argon2id nor argon2i", parts[1])
	}
	if parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, fmt.Errorf("%.20q is not the argon2 version v=%d", parts[2], argon2.Version)
	}
	var m, t uint32
	var p uint8
	if n, err := fmt.Sscanf(parts[3]+"\n", "m=%d,t=%d,p=%d\n", &m, &t, &p); n != 3 || err != nil {
		return nil, fmt.Errorf("%.60q is not m=<KiB>,t=<passes>,p=<lanes>", parts[3])
	}
	if t < 1 || t > maxArgonTime || p < 1 || m < 8*uint32(p) || m > maxArgonMemory {
		return nil, fmt.Errorf("the argon2 cost %.60q is out of bounds", parts[3])
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(salt) < 8 {
		return nil, errors.New("the argon2 salt is damaged")
	}
	want, err := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || len(want) < 16 || len(want) > 128 {
		return nil, errors.New("the argon2 key is damaged")
	}
	return func(password string) bool {
		got := derive([]byte(password), salt, t, m, p, uint32(len(want)))
		return subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}
