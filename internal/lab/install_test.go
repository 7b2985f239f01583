package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakePython is a python3 that makes environments with itself in them, and notes what it is told.
const fakePython = `#!/bin/sh
echo "$@" >> "$NOTES"
case "$1 $2" in
"-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
"-m pip") case "$*" in *refused*) echo "no such package" >&2; exit 1 ;; esac ;;
esac
`

func TestInstall(t *testing.T) {
	root := t.TempDir()
	notes := filepath.Join(root, "notes")
	write(t, filepath.Join(root, "bin/python3"), fakePython)
	environ := []string{"PATH=" + filepath.Join(root, "bin") + ":/usr/bin:/bin", "NOTES=" + notes}
	dir := filepath.Join(root, "state/jupyterlab")
	var out bytes.Buffer
	require.NoError(t, Install(t.Context(), dir, environ, []string{"jupyterlab-git"}, &out))
	said, err := os.ReadFile(notes)
	require.NoError(t, err)
	const pip = "-m pip install --quiet --upgrade --disable-pip-version-check -- jupyterlab>=4,<5 notebook>=7,<8"
	require.Equal(t, "-m venv --clear "+dir+"\n"+pip+" jupyterlab-git\n", string(said))

	require.NoError(t, os.Remove(notes))
	require.NoError(t, Install(t.Context(), dir, environ, nil, &out), "again, to upgrade")
	said, err = os.ReadFile(notes)
	require.NoError(t, err)
	require.Equal(t, "-c import pip\n"+pip+"\n", string(said), "the environment is there")

	require.ErrorContains(t, Install(t.Context(), dir, environ, []string{"refused"}, &out), "pip could not install")
	require.Contains(t, out.String(), "no such package")
	require.ErrorContains(t, Install(t.Context(), dir, environ, []string{"--index-url=http://evil.example"}, &out), "not the name of a package")
	require.ErrorContains(t, Install(t.Context(), filepath.Join(root, "other"), []string{"PATH=/nonexistent"}, nil, &out), "no python3")
}
