package auth

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A token that was made is the same after a restart, until it was configured, damaged, or seen by others.
func TestMadeTokenIsKept_S5(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, tokenFile)
	log := slog.New(slog.DiscardHandler)
	keep := func(fresh string) string {
		token, err := KeepToken(dir, fresh, log)
		require.NoError(t, err)
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
		return token
	}
	a, b := strings.Repeat("a", 48), strings.Repeat("b", 48)
	require.Equal(t, a, keep(a))
	require.Equal(t, a, keep(b))
	require.NoError(t, os.Chmod(path, 0o644))
	require.Equal(t, b, keep(b), "others could have read it")
	for _, damage := range []string{"", "short", a + " x", strings.Repeat("z", 48)} {
		require.NoError(t, os.WriteFile(path, []byte(damage), 0o600))
		require.Equal(t, a, keep(a), damage)
	}
	require.NoError(t, ForgetToken(dir))
	require.NoError(t, ForgetToken(dir))
	require.Equal(t, b, keep(b))

	_, err := KeepToken(filepath.Join(dir, "missing"), a, log)
	require.Error(t, err)
}
