package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/store"
)

const databaseFile = "nbserv.db"

// userCommand changes the accounts in a server's state folder, whether the server runs or not. Passwords are read from
// the terminal, or from standard input's first line; never from arguments, which everybody on the machine can see.
func userCommand(cfg *Config, env environment, stdout, stderr io.Writer) *cobra.Command {
	user := &cobra.Command{Use: "user", Short: "Manage the accounts of those who use the R Server API"}
	addFlags(user.PersistentFlags(), cfg)
	sub := func(use, short string, args int, do func(cmd *cobra.Command, accounts *auth.Accounts, args []string) error) {
		user.AddCommand(&cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(args), RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := cfg.complete(cmd.Flags(), env); err != nil {
				return err
			}
			return withAccounts(cmd.Context(), cfg, func(a *auth.Accounts) error { return do(cmd, a, args) })
		}})
	}
	// password reads one for add and passwd.
	password := func(do func(*auth.Accounts, context.Context, string, string) error, done string) func(*cobra.Command, *auth.Accounts, []string) error {
		return func(cmd *cobra.Command, a *auth.Accounts, args []string) error {
			text, err := readPassword(cmd.InOrStdin(), stderr)
			if err == nil {
				err = do(a, cmd.Context(), args[0], text)
			}
			if err == nil {
				fmt.Fprintf(stdout, "%s: %s\n", args[0], done)
			}
			return err
		}
	}
	sub("add NAME", "Make an account; asks for its password", 1, password((*auth.Accounts).Add, "added"))
	sub("passwd NAME", "Change a password, and end all logins with the old one", 1, password((*auth.Accounts).SetPassword, "password changed"))
	sub("remove NAME", "Remove an account, and end its logins", 1, func(cmd *cobra.Command, a *auth.Accounts, args []string) error {
		err := a.Remove(cmd.Context(), args[0])
		if err == nil {
			fmt.Fprintf(stdout, "%s: removed\n", args[0])
		}
		return err
	})
	sub("list", "List the accounts", 0, func(cmd *cobra.Command, a *auth.Accounts, _ []string) error {
		all, err := a.List(cmd.Context())
		w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		for _, one := range all {
			fmt.Fprintf(w, "%s\t%s\n", one.Name, one.Created.Format(time.DateTime+"Z"))
		}
		_ = w.Flush()
		return err
	})
	return user
}

// withAccounts opens the database beside a server that may be using it.
func withAccounts(ctx context.Context, cfg *Config, do func(*auth.Accounts) error) error {
	dir := cfg.StateDir
	if dir == "" {
		dir = defaultStateDir(cfg.env.stateHome(), cfg.RootDir)
	}
	db, err := store.OpenBeside(ctx, filepath.Join(dir, databaseFile), auth.AccountSchema)
	if err != nil {
		return &serveError{fmt.Errorf("--state-dir: %w", err)}
	}
	defer func() { _ = db.Close() }() // what was written is durable
	if err := do(auth.NewAccounts(db, slog.New(slog.DiscardHandler))); err != nil {
		if fault.KindOf(err) == fault.Internal {
			return &serveError{err}
		}
		return &serveError{fmt.Errorf("%s", fault.Message(err))}
	}
	return nil
}
