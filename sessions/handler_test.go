package sessions_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
)

// api serves the API of host below /a%40b/, without a network.
func api(t testing.TB, host kernel.Host) http.Handler {
	t.Helper()
	r := mux.NewRouter()
	(&sessions.API{Sessions: manager(t, host), BaseURL: "/a%40b/"}).Register(r)
	return r
}

func serve(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, "/api/sessions"+path, strings.NewReader(body)))
	return w
}

// fields decodes an answer that must be an object.
func fields(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var v map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v), w.Body.String())
	return v
}

func TestTheFiveRequestsAndTheirShapes(t *testing.T) {
	h := api(t, newFakeHost())
	require.Equal(t, "[]", serve(h, "GET", "", "").Body.String())

	w := serve(h, "POST", "", `{"path":"f/n.ipynb","name":"n.ipynb","type":"notebook","kernel":{"name":"ir","id":"k-1"}}`)
	require.Equal(t, http.StatusCreated, w.Code)
	id := fields(t, w)["id"].(string)
	require.Equal(t, "/a%40b/api/sessions/"+id, w.Header().Get("Location"))
	want := `{"id":"` + id + `","path":"f/n.ipynb","name":"n.ipynb","type":"notebook","kernel":{"id":"k-1","name":"ir",` +
		`"last_activity":"2001-09-09T01:46:40.000000Z","execution_state":"starting","connections":0},` +
		`"notebook":{"path":"f/n.ipynb","name":"n.ipynb"}}`
	require.Equal(t, want, w.Body.String())
	require.Equal(t, want, serve(h, "GET", "/"+id, "").Body.String())

	w = serve(h, "POST", "", `{"path":"f/n.ipynb","type":"file"}`)
	require.Equal(t, http.StatusCreated, w.Code, "an existing session answers as a new one")
	require.Equal(t, want, w.Body.String())

	w = serve(h, "PATCH", "/"+id, `{"type":"console"}`)
	require.Equal(t, http.StatusOK, w.Code)
	want = strings.ReplaceAll(strings.Split(want, `,"notebook":`)[0]+"}", `"notebook"`, `"console"`)
	require.Equal(t, want, w.Body.String())
	second := serve(h, "POST", "", `{"path":"x","type":"console"}`).Body.String()
	require.Contains(t, second, `"name":""`, "a string always: JupyterLab refuses a list with a null in it")
	require.Equal(t, "["+want+","+second+"]", serve(h, "GET", "", "").Body.String())

	w = serve(h, "DELETE", "/"+id, "")
	require.Equal(t, http.StatusNoContent, w.Code)
	require.Empty(t, w.Body.String())
	for _, method := range []string{"GET", "DELETE", "PATCH"} {
		w = serve(h, method, "/"+id, "{}")
		require.Equal(t, http.StatusNotFound, w.Code)
		require.Contains(t, fields(t, w)["message"], id)
	}
}

// A client generated from the API's description cannot leave kernel.id out: its model requires it.
func TestBodiesOfGeneratedClients(t *testing.T) {
	for _, tc := range []struct{ kernelID, want string }{
		{`""`, ""}, {`null`, ""}, {`"38400000-8cf0-11bd-b23e-10b96e4ff00d"`, "38400000-8cf0-11bd-b23e-10b96e4ff00d"},
	} {
		h := api(t, newFakeHost())
		body := `{"id":"497f6eca-6276-4993-bfeb-53cbbbba6f08","path":"p","name":"n","type":"notebook","unknown":[1],` +
			`"kernel":{"id":` + tc.kernelID + `,"name":"python3","last_activity":"","connections":1.5,"execution_state":"x"}}`
		w := serve(h, "POST", "", body)
		require.Equal(t, http.StatusCreated, w.Code, w.Body)
		made := fields(t, w)
		k := made["kernel"].(map[string]any)
		if tc.want != "" {
			require.Equal(t, tc.want, k["id"])
		}
		w = serve(h, "PATCH", "/"+made["id"].(string), `{"path":"q","kernel":{"id":`+tc.kernelID+`,"name":""}}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, "q", fields(t, w)["path"])
	}
}

func TestTheDeprecatedNotebookObject(t *testing.T) {
	h := api(t, newFakeHost())
	w := serve(h, "POST", "", `{"notebook":{"path":"f/a.ipynb"},"kernel":{"name":"python","id":"foo"}}`)
	require.Equal(t, http.StatusCreated, w.Code)
	made := fields(t, w)
	require.Equal(t, "notebook", made["type"])
	require.Equal(t, "f/a.ipynb", made["path"])
	w = serve(h, "PATCH", "/"+made["id"].(string), `{"notebook":{"path":"b.ipynb"}}`)
	require.Equal(t, map[string]any{"path": "b.ipynb", "name": ""}, fields(t, w)["notebook"])
	w = serve(h, "POST", "", `{"notebook":{"name":"only.ipynb"}}`)
	require.Equal(t, "only.ipynb", fields(t, w)["path"])
}

func TestAnUnstartableKernelIs501(t *testing.T) {
	h := api(t, newFakeHost())
	id := fields(t, serve(h, "POST", "", `{"path":"a","type":"file"}`))["id"].(string)
	for _, w := range []*httptest.ResponseRecorder{
		serve(h, "POST", "", `{"path":"b","type":"file","kernel":{"name":"missing"}}`),
		serve(h, "PATCH", "/"+id, `{"kernel":{"name":"missing"}}`),
	} {
		require.Equal(t, http.StatusNotImplemented, w.Code)
		require.Equal(t, map[string]any{
			"message": "no kernelspec is named missing", "short_message": "Error starting kernel missing",
		}, fields(t, w))
	}
}

func TestDeletingAfterTheKernelIs410(t *testing.T) {
	host := newFakeHost()
	h := api(t, host)
	made := fields(t, serve(h, "POST", "", `{"path":"a","type":"file"}`))
	require.NoError(t, host.Shutdown(t.Context(), made["kernel"].(map[string]any)["id"].(string)))
	require.Equal(t, http.StatusGone, serve(h, "DELETE", "/"+made["id"].(string), "").Code)
}

func TestBadBodiesNameTheirFault_S12_P13(t *testing.T) {
	h := api(t, newFakeHost())
	id := fields(t, serve(h, "POST", "", `{"path":"a","type":"file"}`))["id"].(string)
	both := []struct{ body, says string }{
		{``, "No JSON data"}, {`null`, "No JSON data"}, {`[]`, "array"}, {`"x"`, "string"}, {`7`, "number"}, {`{`, "malformed"},
		{`{} {}`, "more than one"}, {`{"path":NaN}`, "malformed"}, {"{\"path\":\"\xff\"}", "UTF-8"},
		{`{"path":5}`, "path"}, {`{"path":["a"]}`, "path"}, {`{"path":"a\u0000b","type":"t"}`, "path"},
		{`{"path":"b","name":false,"type":"t"}`, "name"}, {`{"path":"b","type":{}}`, "type"},
		{`{"path":"b","type":"t","kernel":"python3"}`, "kernel"}, {`{"path":"b","type":"t","kernel":{"name":1}}`, "kernel.name"},
		{`{"path":"b","type":"t","kernel":{"id":1}}`, "kernel.id"}, {`{"path":"b","type":"t","kernel":{"id":"../../x"}}`, "kernel.id"},
		{`{"path":"b","type":"t","kernel":{"id":"-x"}}`, "kernel.id"}, {`{"path":"b","type":"t","notebook":3}`, "notebook"},
		{`{"path":"` + strings.Repeat("x", 4097) + `","type":"t"}`, "path"},
		{strings.Repeat("[", 1000), "deep"},
	}
	for _, tc := range both {
		for _, w := range []*httptest.ResponseRecorder{serve(h, "POST", "", tc.body), serve(h, "PATCH", "/"+id, tc.body)} {
			require.Equal(t, http.StatusBadRequest, w.Code, tc.body)
			require.Contains(t, fields(t, w)["message"], tc.says, tc.body)
			require.Contains(t, fields(t, w), "reason")
		}
	}
	for body, says := range map[string]string{
		`{}`: "path", `{"type":"t"}`: "path", `{"path":"","name":"","type":"t"}`: "path", `{"path":"b"}`: "type",
		`{"path":"b","type":null}`: "type", `{"name":"b","type":""}`: "type",
	} {
		w := serve(h, "POST", "", body)
		require.Equal(t, http.StatusBadRequest, w.Code, body)
		require.Contains(t, fields(t, w)["message"], says)
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, serve(h, "POST", "", strings.Repeat(" ", 200<<10)).Code)
	require.Equal(t, http.StatusBadRequest, serve(h, "PATCH", "/"+id, `{"kernel":{"id":"none"}}`).Code)
	require.Equal(t, http.StatusNotFound, serve(h, "PATCH", "/x%2Fy", `{}`).Code)

	var all []any
	require.NoError(t, json.Unmarshal(serve(h, "GET", "", "").Body.Bytes(), &all))
	require.Len(t, all, 1, "nothing came of all that")
}

func TestNullsAreAbsent(t *testing.T) {
	h := api(t, newFakeHost())
	w := serve(h, "POST", "", `{"path":"a","name":null,"type":"file","kernel":null,"notebook":null}`)
	require.Equal(t, http.StatusCreated, w.Code)
	w = serve(h, "PATCH", "/"+fields(t, w)["id"].(string), `{"path":null,"name":null,"type":null,"kernel":{"id":null,"name":null}}`)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "a", fields(t, w)["path"])
}

func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `null`, `{"path":"a","type":"notebook"}`, `{"name":"a","type":"x","kernel":{"id":"q","name":"missing"}}`,
		`{"notebook":{"path":"b","name":"c"},"kernel":{"id":"first"}}`, `{"path":"\ud800","type":"\\"}`, `{"path":1e999}`,
		`{"PATH":"a","type":"t","type":"u"}`, "{\"path\":\"\u2028\x7f\",\"type\":\"<&>\"}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		host := newFakeHost()
		h := api(t, host)
		first := fields(t, serve(h, "POST", "", `{"path":"first","type":"t","kernel":{"id":"first"}}`))
		for _, w := range []*httptest.ResponseRecorder{
			serve(h, "POST", "", body), serve(h, "PATCH", "/"+first["id"].(string), body),
		} {
			require.True(t, w.Code < 500 || w.Code == http.StatusNotImplemented, "%d %s", w.Code, w.Body)
			v := fields(t, w)
			if w.Code < 300 {
				require.NotEmpty(t, v["path"])
				require.NotEmpty(t, v["type"])
				require.Equal(t, fields(t, serve(h, "GET", "/"+v["id"].(string), "")), v)
			} else {
				require.NotEmpty(t, v["message"])
			}
		}
		var all []map[string]any
		require.NoError(t, json.Unmarshal(serve(h, "GET", "", "").Body.Bytes(), &all))
		kernels := map[any]bool{}
		for _, s := range all {
			kernels[s["kernel"].(map[string]any)["id"]] = true
		}
		require.Len(t, host.running(), len(kernels), "a kernel without a session is left behind")
	})
}

func BenchmarkListOfTen(b *testing.B) {
	h := api(b, newFakeHost())
	for _, n := range strings.Split("abcdefghij", "") {
		require.Equal(b, http.StatusCreated, serve(h, "POST", "", `{"path":"folder/Untitled`+n+`.ipynb","type":"notebook"}`).Code)
	}
	req := httptest.NewRequest("GET", "/api/sessions", nil)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
	}
}

// BenchmarkListOfTenHTTP is the same through a socket, with clients that keep their connection.
func BenchmarkListOfTenHTTP(b *testing.B) {
	h := api(b, newFakeHost())
	for _, n := range strings.Split("abcdefghij", "") {
		serve(h, "POST", "", `{"path":"folder/Untitled`+n+`.ipynb","type":"notebook"}`)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	b.RunParallel(func(pb *testing.PB) {
		c := http.Client{Transport: &http.Transport{}}
		defer c.CloseIdleConnections()
		for pb.Next() {
			res, err := c.Get(srv.URL + "/api/sessions")
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	})
}
