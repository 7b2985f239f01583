package lab

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOwnExtension(t *testing.T) {
	s := newSite(t, func(s *site) { s.server.Config.Live = true })
	names := func() (all []string) {
		for _, e := range s.pageConfig("/lab")["federated_extensions"].([]any) {
			all = append(all, e.(map[string]any)["name"].(string))
		}
		return all
	}
	require.Equal(t, []string{"@org/git", liveName}, names())
	listed := s.pageConfig("/lab")["federated_extensions"].([]any)
	load := listed[1].(map[string]any)["load"].(string)
	require.Regexp(t, `^static/remoteEntry\.[0-9a-f]{16}\.js$`, load)
	w := s.get("/lab/extensions/@nbserv/live/" + load)
	require.Equal(t, forever, w.Header().Get("Cache-Control"), "its name changes with it")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Header().Get("Content-Type"), "javascript")
	require.Contains(t, w.Body.String(), "_JUPYTERLAB")
	for _, path := range []string{"static/none.js", "static", "../../live.go", ""} {
		require.Equal(t, http.StatusNotFound, s.get("/lab/extensions/@nbserv/live/"+path).Code, path)
	}

	off := newSite(t, nil)
	require.Len(t, off.pageConfig("/lab")["federated_extensions"], 1)
	require.Equal(t, http.StatusNotFound, off.get("/lab/extensions/@nbserv/live/static/remoteEntry.js").Code)
}
