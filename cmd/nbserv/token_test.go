package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// The token that a server makes for itself, and the logins by it, are good under the next server of its state folder;
// not once another credential was configured in between, whether or not that is taken back.
func TestMadeTokenOutlivesTheServer_S5(t *testing.T) {
	state := t.TempDir()
	serve := func(token string) *running {
		return start(t, func(c *Config) {
			c.StateDir, c.Auth.Token = state, token
			c.given = map[string]bool{"token": token != ""}
		})
	}
	end := func(r *running) {
		r.stop()
		<-r.done
	}
	status := func(r *running, change func(*http.Request)) *http.Response {
		req, err := http.NewRequest("GET", r.url("/api/kernels"), nil)
		require.NoError(t, err)
		change(req)
		resp, err := r.client.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp
	}
	first := serve("")
	made := first.cfg.Auth.Token
	require.Len(t, made, 48)
	by := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "token "+token) }
	}
	require.Equal(t, 200, status(first, by(made)).StatusCode)
	end(first)

	second := serve("")
	require.Equal(t, made, second.cfg.Auth.Token)
	require.Equal(t, 200, status(second, by(made)).StatusCode)
	require.NotContains(t, second.logged.String(), made)
	end(second)

	configured := serve("configured")
	require.Equal(t, 403, status(configured, by(made)).StatusCode)
	require.Equal(t, 200, status(configured, by("configured")).StatusCode)
	end(configured)

	last := serve("")
	require.NotEqual(t, made, last.cfg.Auth.Token)
	require.Equal(t, 403, status(last, by(made)).StatusCode)
}
