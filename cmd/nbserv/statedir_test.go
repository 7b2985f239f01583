package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStateDirHasOneServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	a, err := openStateDir(dir, "", "/root")
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	_, err = openStateDir(dir, "", "/root")
	require.ErrorContains(t, err, "another server")
	require.NoError(t, a.Close())
	b, err := openStateDir(dir, "", "/root")
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

func TestDefaultStateDirIsFoundAgain(t *testing.T) {
	home := t.TempDir()
	a, err := openStateDir("", home, "/data/books")
	require.NoError(t, err)
	second, err := openStateDir("", home, "/data/books")
	require.NoError(t, err)
	other, err := openStateDir("", home, "/elsewhere/books")
	require.NoError(t, err)
	require.Equal(t, a.path+"-2", second.path)
	require.NotEqual(t, a.path, other.path)
	path := a.path
	for _, s := range []*stateDir{a, second, other} {
		require.NoError(t, s.Close())
	}
	again, err := openStateDir("", home, "/data/books")
	require.NoError(t, err)
	require.Equal(t, path, again.path)
	require.NoError(t, again.Close())
}

// A lock that is given up a moment later is waited for: a child of a server that was killed had it.
func TestStateDirOfAServerThatWasJustKilled_P3(t *testing.T) {
	dir := t.TempDir()
	a, err := openStateDir(dir, "", "/root")
	require.NoError(t, err)
	time.AfterFunc(leftLockWait/10, func() { _ = a.Close() })
	b, err := openStateDir(dir, "", "/root")
	require.NoError(t, err)
	require.NoError(t, b.Close())
}
