package auth

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	accessLife = time.Hour
	keyLife    = 24 * time.Hour // then another key signs; it goes on verifying what it has signed
	keyBytes   = 32
	// clockSkew is what the clocks of this machine may differ by between two of its boots.
	clockSkew = time.Minute
)

// signingKey signs access tokens, and verifies them until the last has expired.
type signingKey struct {
	id      string
	secret  []byte
	created time.Time
}

// claims are those of an access token: RFC 7519's and two of our own.
type claims struct {
	jwt.RegisteredClaims
	Stamp  int64  `json:"stp"`
	Family string `json:"fam"` // of the refresh token that came with it
}

// looksSigned tells whether a token is of the form that Accounts gives out, which the server's own token hardly is.
func looksSigned(token string) bool {
	return strings.HasPrefix(token, "eyJ") && strings.Count(token, ".") == 2
}

// sign makes an access token.
func (a *Accounts) sign(ctx context.Context, name, family string, stamp int64) (token string, expires time.Time, err error) {
	now := a.now()
	key, err := a.newestKey(ctx, now)
	if err != nil {
		return "", expires, err
	}
	expires = now.Add(accessLife).Truncate(time.Second)
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: name, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires), ID: uuid.NewString(),
		},
		Stamp: stamp, Family: family,
	})
	t.Header["kid"] = key.id
	token, err = t.SignedString(key.secret)
	if err != nil {
		return "", expires, fault.Wrap(fault.Internal, err, "sign a token")
	}
	return token, expires, nil
}

// verify tells whose access token it is, or says Unauthenticated.
func (a *Accounts) verify(ctx context.Context, token string) (name string, err error) {
	if err := a.loadKeys(ctx); err != nil {
		return "", err
	}
	var c claims
	_, err = jwt.ParseWithClaims(token, &c, a.keyOf, jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(0), jwt.WithTimeFunc(a.now))
	if errors.Is(err, jwt.ErrTokenExpired) {
		return "", fault.Wrap(fault.Unauthenticated, err, "the access token has expired: exchange the refresh token, or log in again")
	}
	if err != nil {
		return "", fault.Wrap(fault.Unauthenticated, err, "the access token is not valid: log in again")
	}
	stamp, ok, err := a.stampOf(ctx, c.Subject, c.Family)
	if err != nil {
		return "", err
	}
	if !ok || stamp != c.Stamp {
		return "", fault.New(fault.Unauthenticated, "the access token was revoked: log in again")
	}
	return c.Subject, nil
}

// keyOf finds the key that a token says it was signed with.
func (a *Accounts) keyOf(t *jwt.Token) (any, error) {
	id, _ := t.Header["kid"].(string)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.keys {
		if k.id == id && a.now().Sub(k.created) < keyLife+accessLife+clockSkew {
			return k.secret, nil
		}
	}
	return nil, errors.New("no such key")
}

// loadKeys reads the keys once: this process alone makes them.
func (a *Accounts) loadKeys(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys != nil {
		return nil
	}
	keys := []signingKey{}
	err := a.db.Do(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT id, secret, created FROM account_key ORDER BY created DESC, id")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var k signingKey
			var created int64
			if err := rows.Scan(&k.id, &k.secret, &created); err != nil {
				return err
			}
			k.created = time.Unix(created, 0)
			keys = append(keys, k)
		}
		return rows.Err()
	})
	if err == nil {
		a.keys = keys
	}
	return err
}

// newestKey is the key to sign with: another one each day.
func (a *Accounts) newestKey(ctx context.Context, now time.Time) (signingKey, error) {
	if err := a.loadKeys(ctx); err != nil {
		return signingKey{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.keys) > 0 && now.Sub(a.keys[0].created) < keyLife && len(a.keys[0].secret) == keyBytes {
		return a.keys[0], nil
	}
	k := signingKey{id: uuid.NewString(), secret: make([]byte, keyBytes), created: now.Truncate(time.Second)}
	_, _ = rand.Read(k.secret) // never fails
	retired := now.Add(-keyLife - accessLife - clockSkew)
	err := a.db.Do(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM account_key WHERE created < ?", retired.Unix()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO account_key (id, secret, created) VALUES (?, ?, ?)", k.id, k.secret, k.created.Unix())
		return err
	})
	if err != nil {
		return signingKey{}, err
	}
	keep := []signingKey{k}
	for _, old := range a.keys {
		if old.created.After(retired) {
			keep = append(keep, old)
		}
	}
	a.keys = keep
	return k, nil
}
