// Package store opens the server's embedded database: one SQLite file in the state folder, in WAL mode with
// synchronous=FULL, so that what was committed survives the death of the server and of the machine.
//
// It knows files, migrations, damage and backups. What is in the tables is the business of the packages
// that own them: each hands Open its Schema and writes its own queries through DB.Do.
//
// The package starts no goroutine other than database/sql's own, which ends with Close.
package store
