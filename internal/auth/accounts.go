package auth

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/clock"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/store"
)

// AccountSchema is what Accounts keeps in the database, for store.Open.
var AccountSchema = store.Schema{
	Noun: "accounts",
	Steps: []string{`
		CREATE TABLE account (
			name    TEXT NOT NULL PRIMARY KEY,
			hash    TEXT NOT NULL,   -- argon2id
			stamp   INTEGER NOT NULL, -- another one with each password
			created INTEGER NOT NULL -- seconds since 1970
		) STRICT, WITHOUT ROWID;
		CREATE TABLE account_key (
			id      TEXT NOT NULL PRIMARY KEY,
			secret  BLOB NOT NULL,
			created INTEGER NOT NULL
		) STRICT, WITHOUT ROWID;
		CREATE TABLE account_refresh (
			digest  BLOB NOT NULL PRIMARY KEY, -- SHA-256 of the token
			family  TEXT NOT NULL,             -- of all that were exchanged for one another since a login
			name    TEXT NOT NULL,
			stamp   INTEGER NOT NULL,
			expires INTEGER NOT NULL,
			used    INTEGER NOT NULL
		) STRICT, WITHOUT ROWID;
		CREATE INDEX account_refresh_family ON account_refresh (family);
		CREATE TABLE account_revoked (
			family TEXT NOT NULL PRIMARY KEY,
			until  INTEGER NOT NULL -- when its last access token has expired
		) STRICT, WITHOUT ROWID;`},
	Probe: `SELECT account.name, hash, account.stamp, account.created, account_key.id, secret, account_key.created,
		digest, account_refresh.family, account_refresh.name, account_refresh.stamp, expires, used, account_revoked.family, until
		FROM account FULL JOIN account_key ON 0 FULL JOIN account_refresh ON 0 FULL JOIN account_revoked ON 0`,
}

// Admin is the name of whoever has the server's own token or password. No account can have it.
const Admin = "admin"

const (
	minPassword = 8           // bytes; OWASP's least for passwords without a second factor
	lookEvery   = time.Second // how soon a change by another process (nbserv user) counts
	maxAccounts = 10_000      // one list of them is kept in memory: about 1 MB
	maxRefresh  = 1000        // refresh tokens of one account; the first to expire go first
)

// accountName is what can be an account's name: it stands in tokens, logs and lists.
var accountName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// Accounts are the people whom dialects know by name and password. The same database may be changed by another
// process; that counts within a second. All methods are safe for concurrent use.
type Accounts struct {
	db  *store.DB        // immutable
	log *slog.Logger     // immutable
	now func() time.Time // immutable

	mu      sync.Mutex
	admin   int64                // stamp of Admin; guarded by mu
	stamps  map[string]int64     // of the accounts; guarded by mu
	revoked map[string]time.Time // families, until; guarded by mu
	looked  time.Time            // when these were read; guarded by mu
	keys    []signingKey         // newest first; guarded by mu
}

// NewAccounts makes the Accounts of a database that was opened with AccountSchema.
func NewAccounts(db *store.DB, log *slog.Logger) *Accounts {
	return &Accounts{db: db, log: log, now: clock.Steady}
}

// Account is one person.
type Account struct {
	Name    string
	Created time.Time
}

// newStamp makes the mark of a password. Tokens carry it: another password ends them.
func newStamp() int64 { return rand.Int64() }

func checkPassword(password string) error {
	if len(password) < minPassword || len(password) > maxPasswordBytes {
		return fault.New(fault.Invalid, "a password has %d to %d bytes", minPassword, maxPasswordBytes)
	}
	return nil
}

// Add makes an account. A name or password that cannot be is Invalid, a name that is taken Conflict.
func (a *Accounts) Add(ctx context.Context, name, password string) error {
	if !accountName.MatchString(name) {
		return fault.New(fault.Invalid, "a user's name has 1 to 64 letters, digits, and . _ @ -, and begins with a letter or digit")
	}
	if name == Admin {
		return fault.New(fault.Conflict, "%s is whoever has the server's token: choose another name", Admin)
	}
	if err := checkPassword(password); err != nil {
		return err
	}
	hash := HashPassword(password)
	return a.db.Do(ctx, func(tx *sql.Tx) error {
		var taken, all int
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FILTER (WHERE name = ?), COUNT(*) FROM account", name).Scan(&taken, &all); err != nil {
			return err
		}
		switch {
		case taken > 0:
			return fault.New(fault.Conflict, "user %s already exists", name)
		case all >= maxAccounts:
			return fault.New(fault.Conflict, "there are %d users, the most there can be", all)
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO account (name, hash, stamp, created) VALUES (?, ?, ?, ?)",
			name, hash, newStamp(), a.now().Unix())
		return err
	})
}

// SetPassword gives an account another password, and ends all of its tokens. An unknown name is NotFound.
func (a *Accounts) SetPassword(ctx context.Context, name, password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	hash := HashPassword(password)
	return a.change(ctx, name, "UPDATE account SET hash = ?, stamp = ? WHERE name = ?", hash, newStamp(), name)
}

// Remove ends an account and all of its tokens. An unknown name is NotFound.
func (a *Accounts) Remove(ctx context.Context, name string) error {
	return a.change(ctx, name, "DELETE FROM account WHERE name = ?", name)
}

// change changes one account and forgets its refresh tokens.
func (a *Accounts) change(ctx context.Context, name, statement string, args ...any) error {
	err := a.db.Do(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fault.New(fault.NotFound, "there is no user %.100s", name))
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM account_refresh WHERE name = ?", name)
		return err
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looked = time.Time{}
	return err
}

// List gives all accounts by name.
func (a *Accounts) List(ctx context.Context) (all []Account, err error) {
	err = a.db.Do(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT name, created FROM account ORDER BY name")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var one Account
			var created int64
			if err := rows.Scan(&one.Name, &created); err != nil {
				return err
			}
			one.Created = time.Unix(created, 0).UTC()
			all = append(all, one)
		}
		return rows.Err()
	})
	return all, err
}

// hash gives an account's password hash and stamp; "" when there is no such account.
func (a *Accounts) hash(ctx context.Context, name string) (hash string, stamp int64, err error) {
	err = a.db.Do(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT hash, stamp FROM account WHERE name = ?", name).Scan(&hash, &stamp)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return hash, stamp, err
}

// setAdmin says what tokens of Admin must carry from now on.
func (a *Accounts) setAdmin(stamp int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.admin = stamp
}

// stampOf is the mark that tokens of name must carry now; false when there is nobody of that name, or the family was
// revoked.
func (a *Accounts) stampOf(ctx context.Context, name, family string) (int64, bool, error) {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.looked.IsZero() || now.Sub(a.looked) >= lookEvery || now.Before(a.looked) {
		if err := a.look(ctx); err != nil {
			return 0, false, err
		}
		a.looked = now
	}
	if _, gone := a.revoked[family]; gone {
		return 0, false, nil
	}
	if name == Admin {
		return a.admin, true, nil
	}
	stamp, ok := a.stamps[name]
	return stamp, ok, nil
}

// look reads what tokens are checked against. mu is held: who comes meanwhile wants the same.
func (a *Accounts) look(ctx context.Context) error {
	stamps, revoked := map[string]int64{}, map[string]time.Time{}
	err := a.db.Do(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT name, stamp, 0 FROM account UNION ALL SELECT family, until, 1 FROM account_revoked")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			var n int64
			var gone bool
			if err := rows.Scan(&name, &n, &gone); err != nil {
				return err
			}
			if gone {
				revoked[name] = time.Unix(n, 0)
			} else {
				stamps[name] = n
			}
		}
		return rows.Err()
	})
	if err == nil {
		a.stamps, a.revoked = stamps, revoked
	}
	return err
}
