package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

const (
	refreshLife  = 14 * 24 * time.Hour
	refreshBytes = 32
	maxTokenText = 4096
)

// Grant is what a client gets for a password or a refresh token.
type Grant struct {
	Access  string // a JWT, to send as a bearer
	Expires time.Time
	Life    time.Duration // how long Access is good for, when it is new
	Refresh string        // good once: it is exchanged for another Grant
}

// errRefresh is said to whoever brings a refresh token that is unknown, used, expired or revoked.
var errRefresh = fault.New(fault.Unauthenticated, "the refresh token is invalid or has expired: log in again")

// LogIn gives a Grant to whoever knows an account's password; the server's own token and password are Admin's.
// Wrong ones are Unauthenticated, too many from one address TooMany (S5): w then says how long to wait.
func (a *Auth) LogIn(w http.ResponseWriter, r *http.Request, name, password string) (Grant, error) {
	client := httpx.ClientOf(r)
	if len(password) > maxPasswordBytes || len(name) > maxPasswordBytes {
		return Grant{}, fault.New(fault.Invalid, "a name or a password has at most %d bytes", maxPasswordBytes)
	}
	if wait, ok := a.logins.try(client.Addr); !ok {
		return Grant{}, tooMany(w, wait)
	}
	stamp, ok, err := a.knows(r.Context(), name, password)
	if err != nil {
		return Grant{}, err
	}
	if !ok {
		return Grant{}, fault.New(fault.Unauthenticated, "the user name or the password is not right")
	}
	a.logins.reset(client.Addr)
	httpx.Logger(r.Context()).Info("login", "remote", client.Addr, "user", name)
	return a.cfg.Accounts.grant(r.Context(), name, stamp)
}

// knows verifies a password. A name that nobody has takes as long as one that somebody has.
func (a *Auth) knows(ctx context.Context, name, password string) (stamp int64, ok bool, err error) {
	if name == Admin {
		if ok, err = a.passwordIs(ctx, a.creds.Load(), password); err != nil {
			return 0, false, err
		}
		stamp, _, err = a.cfg.Accounts.stampOf(ctx, Admin, "")
		return stamp, ok || !a.Enabled(), err
	}
	hash, stamp, err := a.cfg.Accounts.hash(ctx, name)
	if err != nil {
		return 0, false, err
	}
	known := hash != ""
	if !known {
		hash = nobodysHash()
	}
	verify, err := parseHash(hash)
	if err != nil {
		return 0, false, fault.Wrap(fault.Internal, err, "the password of %s", name)
	}
	if err := a.takeHashing(ctx); err != nil {
		return 0, false, err
	}
	defer a.giveHashing()
	return stamp, verify(password) && known, nil
}

// nobodysHash costs what every other does.
var nobodysHash = sync.OnceValue(func() string { return HashPassword("nobody's") })

// RefreshGrant exchanges a refresh token for another Grant. One that was exchanged before is somebody else's copy, or
// somebody else has one: all that came of the same login ends. What is no good is Unauthenticated.
func (a *Auth) RefreshGrant(ctx context.Context, token string) (Grant, error) {
	return a.cfg.Accounts.refresh(ctx, token)
}

// RevokeGrant ends all that came of the login that token came of. An unknown token is Unauthenticated.
func (a *Auth) RevokeGrant(ctx context.Context, token string) error {
	return a.cfg.Accounts.revoke(ctx, token)
}

// grant begins a family.
func (a *Accounts) grant(ctx context.Context, name string, stamp int64) (Grant, error) {
	family := uuid.NewString()
	token, digest := newRefresh()
	now := a.now()
	err := a.db.Do(ctx, func(tx *sql.Tx) error {
		for _, q := range []string{"DELETE FROM account_refresh WHERE expires <= ?", "DELETE FROM account_revoked WHERE until <= ?"} {
			if _, err := tx.ExecContext(ctx, q, now.Unix()); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM account_refresh WHERE name = ?1 AND digest NOT IN
			(SELECT digest FROM account_refresh WHERE name = ?1 ORDER BY expires DESC LIMIT ?2)`, name, maxRefresh-1)
		if err != nil {
			return err
		}
		return insertRefresh(ctx, tx, digest, family, name, stamp, now)
	})
	if err != nil {
		return Grant{}, err
	}
	return a.withAccess(ctx, token, name, family, stamp)
}

func (a *Accounts) withAccess(ctx context.Context, refresh, name, family string, stamp int64) (Grant, error) {
	access, expires, err := a.sign(ctx, name, family, stamp)
	if err != nil {
		return Grant{}, err
	}
	return Grant{Access: access, Expires: expires, Life: accessLife, Refresh: refresh}, nil
}

func newRefresh() (token string, digest []byte) {
	var b [refreshBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	token = base64.RawURLEncoding.EncodeToString(b[:])
	return token, refreshDigest(token)
}

// refreshDigest is what is kept of a token: whoever reads the database cannot use it.
func refreshDigest(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func insertRefresh(ctx context.Context, tx *sql.Tx, digest []byte, family, name string, stamp int64, now time.Time) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO account_refresh (digest, family, name, stamp, expires, used) VALUES (?, ?, ?, ?, ?, 0)",
		digest, family, name, stamp, now.Add(refreshLife).Unix())
	return err
}

// refreshRow is what the database has of a refresh token.
type refreshRow struct {
	family, name string
	stamp        int64
	expires      int64
	used         bool
}

// findRefresh gives errRefresh when there is no such token.
func findRefresh(ctx context.Context, tx *sql.Tx, token string) (row refreshRow, err error) {
	if len(token) > maxTokenText {
		return row, errRefresh
	}
	err = tx.QueryRowContext(ctx, "SELECT family, name, stamp, expires, used FROM account_refresh WHERE digest = ?", refreshDigest(token)).
		Scan(&row.family, &row.name, &row.stamp, &row.expires, &row.used)
	if errors.Is(err, sql.ErrNoRows) {
		err = errRefresh
	}
	return row, err
}

func (a *Accounts) refresh(ctx context.Context, token string) (Grant, error) {
	now := a.now()
	next, digest := newRefresh()
	var row refreshRow
	good := false
	err := a.db.Do(ctx, func(tx *sql.Tx) (err error) {
		if row, err = findRefresh(ctx, tx, token); err != nil {
			return err
		}
		if row.used {
			return a.endFamily(ctx, tx, row.family, now)
		}
		if row.expires <= now.Unix() {
			return errRefresh
		}
		if _, err := tx.ExecContext(ctx, "UPDATE account_refresh SET used = 1 WHERE digest = ?", refreshDigest(token)); err != nil {
			return err
		}
		good = true
		return insertRefresh(ctx, tx, digest, row.family, row.name, row.stamp, now)
	})
	if err != nil {
		return Grant{}, err
	}
	if !good {
		a.noteRevoked(row.family, now)
		a.log.Warn("a refresh token was used twice: its login is ended", "user", row.name)
		return Grant{}, errRefresh
	}
	stamp, known, err := a.stampOf(ctx, row.name, row.family)
	if err != nil {
		return Grant{}, err
	}
	if !known || stamp != row.stamp {
		return Grant{}, errRefresh
	}
	return a.withAccess(ctx, next, row.name, row.family, row.stamp)
}

func (a *Accounts) revoke(ctx context.Context, token string) error {
	now := a.now()
	var row refreshRow
	err := a.db.Do(ctx, func(tx *sql.Tx) (err error) {
		if row, err = findRefresh(ctx, tx, token); err != nil {
			return err
		}
		return a.endFamily(ctx, tx, row.family, now)
	})
	if err == nil {
		a.noteRevoked(row.family, now)
	}
	return err
}

// endFamily forgets a family's refresh tokens, and remembers it until its access tokens have expired.
func (a *Accounts) endFamily(ctx context.Context, tx *sql.Tx, family string, now time.Time) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM account_refresh WHERE family = ?", family); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO account_revoked (family, until) VALUES (?, ?)", family, now.Add(accessLife+clockSkew).Unix())
	return err
}

// noteRevoked makes a revocation count in this process at once.
func (a *Accounts) noteRevoked(family string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.revoked == nil {
		a.revoked = map[string]time.Time{}
	}
	a.revoked[family] = now.Add(accessLife)
}
