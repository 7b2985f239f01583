package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/nbserv/nbserv/internal/fault"
)

// errDamaged marks a file that SQLite can open and we cannot use.
var errDamaged = errors.New("damaged database")

// primary is the primary result code in err's chain, or SQLITE_OK. The upper bits are details.
// https://www.sqlite.org/rescode.html
func primary(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return sqlite3.SQLITE_OK
}

// damaged tells whether an error of open means that the file is no usable database. An SQL error belongs
// to that: our statements are right, so the tables are not what they were.
func damaged(err error) bool {
	switch primary(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR,
		sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH:
		return true
	}
	return errors.Is(err, errDamaged)
}

// translate turns the driver's errors into faults.
func translate(err error) error {
	switch primary(err) {
	case sqlite3.SQLITE_OK:
		return err
	case sqlite3.SQLITE_FULL:
		return fault.Wrap(fault.NoSpace, err, "no space left on the disk")
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fault.Wrap(fault.Busy, err, "the database is in use")
	case sqlite3.SQLITE_CONSTRAINT:
		return fault.Wrap(fault.Conflict, err, "the entry exists already")
	}
	return fault.Wrap(fault.Internal, err, "the database")
}

// setAside renames the database and its companions, which belong to it: the WAL may hold its newest pages.
// It gives the new name of the database.
func setAside(path string) (string, error) {
	stamp := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
	to := stamp
	for n := 2; !missing(to); n++ {
		to = fmt.Sprintf("%s-%d", stamp, n)
	}
	for _, suffix := range []string{"-wal", "-shm", ""} {
		err := os.Rename(path+suffix, to+suffix)
		if err != nil && !(suffix != "" && errors.Is(err, fs.ErrNotExist)) {
			return "", fault.OS(err, "the damaged database")
		}
	}
	return to, nil
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
