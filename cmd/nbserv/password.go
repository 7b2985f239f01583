package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nbserv/nbserv/internal/auth"
)

// passwordCommand asks for a password, without showing it, and prints the hash that --password takes. Where
// standard input is no terminal, its first line is the password.
func passwordCommand(stdout, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "password",
		Short: "Ask for a password and print its hash",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := readPassword(cmd.InOrStdin(), stderr)
			if err != nil {
				return &serveError{err}
			}
			fmt.Fprintln(stdout, auth.HashPassword(password))
			return nil
		},
	}
}

func readPassword(in io.Reader, stderr io.Writer) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(in).ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.Join(errors.New("no password on standard input"), err)
		}
		return line, nil
	}
	var twice [2]string
	for i, prompt := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(stderr, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(stderr)
		if err != nil {
			return "", err
		}
		twice[i] = string(b)
	}
	switch {
	case twice[0] == "":
		return "", errors.New("the password is empty")
	case twice[0] != twice[1]:
		return "", errors.New("the two passwords differ")
	}
	return twice[0], nil
}
