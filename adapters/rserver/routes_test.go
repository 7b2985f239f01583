package rserver

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// documented is every path of the API's document with its method, its success and its errors, read off the document.
const documented = `
POST /login 200 401
POST /login/refreshToken 200 401
DELETE /login/refreshToken 200 401
GET /services 200 401
POST /services/{name} 201 400 401 403 409
GET /services/{name} 200 401
POST /services/{name}/{version} 201 400 401 403
PATCH /services/{name}/{version} 200 400 401 403 404
GET /services/{name}/{version} 200 401 404
DELETE /services/{name}/{version} 200 401 403 404
GET /api/{name}/{version}/swagger.json 200 400 401 404
POST /sessions 201 401 404
GET /sessions 200 401
DELETE /sessions/{id} 200 401 404
DELETE /sessions/{id}/force 200 401 404
GET /sessions/{id}/console-output 200 401 404
GET /sessions/{id}/history 200 401 404
POST /sessions/{id}/files 201 401 404
GET /sessions/{id}/files 200 401 404
GET /sessions/{id}/files/{fileName} 200 401 404
DELETE /sessions/{id}/files/{fileName} 200 401 404
GET /sessions/{id}/workspace 200 401 404 410
POST /sessions/{id}/workspace/{objectName} 200 401 404
GET /sessions/{id}/workspace/{objectName} 200 401 404
DELETE /sessions/{id}/workspace/{objectName} 200 401 404
POST /sessions/{id}/execute 200 401 404
POST /sessions/{id}/snapshot 201 401 404
POST /sessions/{id}/loadsnapshot/{snapshotId} 200 401 404
POST /sessions/{id}/cancel 200 401 404
GET /snapshots 200 401
GET /snapshots/{id} 200 401 404
DELETE /snapshots/{id} 200 401 404
GET /status 200 401 500`

// later is what later versions of the API have besides.
const later = `
DELETE /login/refreshToken/{refreshToken} 200 401
GET /services/{name}/{version}/pool 200 401 404
PUT /services/{name}/{version}/pool 200 400 401 403 404
DELETE /services/{name}/{version}/pool 200 401 403 404
POST /api/{name}/{version} 200 400 401 404
POST /api/{name}/{version}/batch 202 400 401 404
GET /api/{name}/{version}/batch 200 401 404
GET /api/{name}/{version}/batch/{executionId} 200 401 404
DELETE /api/{name}/{version}/batch/{executionId} 200 401 404
GET /api/{name}/{version}/batch/{executionId}/{index}/files 200 401 404
GET /api/{name}/{version}/batch/{executionId}/{index}/files/{fileName} 200 401 404
GET /swagger.json 200 401`

// Each path, method, status and error of the API is asked for, by name; and the API has no route but these.
func TestRoutes(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann, bob := s.as("ann"), s.as("bob")
	x, mortal := ann.session(runtimeR), ann.session(runtimeR)
	ann.mustExecute(x, `a <- 1; b <- 2; for (f in c("f", "g")) writeLines("x", f)`)
	ann.mustExecute(mortal, "1")
	require.False(t, ann.execute(mortal, "tools::pskill(Sys.getpid(), 9); Sys.sleep(60)").Success)
	snap := ann.snapshot(x)
	object := ann.ask("GET", x+"/workspace/a", nil).Body.String()
	service := jsonText(publishRequest{Code: ptr("writeLines('1', 'o'); r <- 1"), OutputFileNames: &[]string{"o"}, OutputParameterDefinitions: definitions("r numeric")})
	ann.json(201, "POST", "/services/s/v1", service, nil)
	ann.json(201, "POST", "/services/d/v1", service, nil)
	var batch, spare startBatchResponse
	ann.json(202, "POST", "/api/s/v1/batch", `[{}]`, &batch)
	ann.json(202, "POST", "/api/s/v1/batch", `[{}]`, &spare)
	require.Eventually(t, func() bool {
		return strings.Contains(ann.json(200, "GET", "/api/s/v1/batch/"+batch.ID, nil, nil), batchComplete)
	}, patience, 20*tick)
	logIn := func() accessTokenResponse {
		var grant accessTokenResponse
		s.as("nobody").json(200, "POST", "/login", loginRequest{"ann", password}, &grant)
		return grant
	}
	grants := []accessTokenResponse{logIn(), logIn(), logIn()}
	file, formType := form("up", "x")
	upload := file.String()

	type try struct {
		as      user
		line    string // METHOD /path/with/{variables} STATUS
		path    string
		body    string
		headers []string
	}
	nobody := s.as("nobody")
	tries := []try{
		{nobody, "POST /login 200", "/login", jsonText(loginRequest{"ann", password}), nil},
		{nobody, "POST /login 401", "/login", `{"username":"ann","password":"wrong password"}`, nil},
		{nobody, "POST /login/refreshToken 200", "/login/refreshToken", jsonText(renewTokenRequest{grants[0].RefreshToken}), nil},
		{nobody, "POST /login/refreshToken 401", "/login/refreshToken", `{"refreshToken":"x"}`, nil},
		{nobody, "DELETE /login/refreshToken 200", "/login/refreshToken?refreshToken=" + grants[1].RefreshToken, "", nil},
		{nobody, "DELETE /login/refreshToken 401", "/login/refreshToken?refreshToken=x", "", nil},
		{nobody, "DELETE /login/refreshToken/{refreshToken} 200", "/login/refreshToken/" + grants[2].RefreshToken, "", nil},
		{nobody, "DELETE /login/refreshToken/{refreshToken} 401", "/login/refreshToken/x", "", nil},

		{bob, "GET /services 200", "/services", "", nil},
		{bob, "GET /services/{name} 200", "/services/s", "", nil},
		{ann, "POST /services/{name} 201", "/services/s", service, nil},
		{ann, "POST /services/{name} 400", "/services/s", `{}`, nil},
		{bob, "POST /services/{name} 403", "/services/s", service, nil},
		{ann, "POST /services/{name} 409", "/services/s", `{"version":"v1","code":"1"}`, nil},
		{ann, "POST /services/{name}/{version} 201", "/services/s/v2", service, nil},
		{ann, "POST /services/{name}/{version} 400", "/services/s/v3", `{"code":"1","inputParameterDefinitions":[{"name":"x","type":"strange"}]}`, nil},
		{bob, "POST /services/{name}/{version} 403", "/services/s/v1", service, nil},
		{ann, "PATCH /services/{name}/{version} 200", "/services/s/v2", `{"code":"2"}`, nil},
		{ann, "PATCH /services/{name}/{version} 400", "/services/s/v2", `{"code":""}`, nil},
		{bob, "PATCH /services/{name}/{version} 403", "/services/s/v2", `{"code":"2"}`, nil},
		{ann, "PATCH /services/{name}/{version} 404", "/services/s/v9", `{"code":"2"}`, nil},
		{bob, "GET /services/{name}/{version} 200", "/services/s/v1", "", nil},
		{bob, "GET /services/{name}/{version} 404", "/services/s/v9", "", nil},
		{bob, "DELETE /services/{name}/{version} 403", "/services/d/v1", "", nil},
		{ann, "DELETE /services/{name}/{version} 200", "/services/d/v1", "", nil},
		{ann, "DELETE /services/{name}/{version} 404", "/services/d/v1", "", nil},
		{bob, "GET /services/{name}/{version}/pool 200", "/services/s/v1/pool", "", nil},
		{bob, "GET /services/{name}/{version}/pool 404", "/services/s/v9/pool", "", nil},
		{ann, "PUT /services/{name}/{version}/pool 200", "/services/s/v1/pool", `{"InitialPoolSize":0,"MaxPoolSize":1}`, nil},
		{ann, "PUT /services/{name}/{version}/pool 400", "/services/s/v1/pool", `{}`, nil},
		{bob, "PUT /services/{name}/{version}/pool 403", "/services/s/v1/pool", `{"InitialPoolSize":0,"MaxPoolSize":1}`, nil},
		{ann, "PUT /services/{name}/{version}/pool 404", "/services/s/v9/pool", `{"InitialPoolSize":0,"MaxPoolSize":1}`, nil},
		{ann, "DELETE /services/{name}/{version}/pool 200", "/services/s/v1/pool", "", nil},
		{bob, "DELETE /services/{name}/{version}/pool 403", "/services/s/v1/pool", "", nil},
		{ann, "DELETE /services/{name}/{version}/pool 404", "/services/s/v9/pool", "", nil},

		{bob, "GET /api/{name}/{version}/swagger.json 200", "/api/s/v1/swagger.json", "", nil},
		{bob, "GET /api/{name}/{version}/swagger.json 400", "/api/s/v%001/swagger.json", "", nil},
		{bob, "GET /api/{name}/{version}/swagger.json 404", "/api/s/v9/swagger.json", "", nil},
		{bob, "POST /api/{name}/{version} 200", "/api/s/v1", `{}`, nil},
		{bob, "POST /api/{name}/{version} 400", "/api/s/v1", `[]`, nil},
		{bob, "POST /api/{name}/{version} 404", "/api/s/v9", `{}`, nil},
		{bob, "POST /api/{name}/{version}/batch 202", "/api/s/v1/batch", `[{}]`, nil},
		{bob, "POST /api/{name}/{version}/batch 400", "/api/s/v1/batch", `[]`, nil},
		{bob, "POST /api/{name}/{version}/batch 404", "/api/s/v9/batch", `[{}]`, nil},
		{ann, "GET /api/{name}/{version}/batch 200", "/api/s/v1/batch", "", nil},
		{ann, "GET /api/{name}/{version}/batch 404", "/api/s/v9/batch", "", nil},
		{ann, "GET /api/{name}/{version}/batch/{executionId} 200", "/api/s/v1/batch/" + batch.ID, "", nil},
		{bob, "GET /api/{name}/{version}/batch/{executionId} 404", "/api/s/v1/batch/" + batch.ID, "", nil},
		{ann, "GET /api/{name}/{version}/batch/{executionId}/{index}/files 200", "/api/s/v1/batch/" + batch.ID + "/0/files", "", nil},
		{ann, "GET /api/{name}/{version}/batch/{executionId}/{index}/files 404", "/api/s/v1/batch/" + batch.ID + "/1/files", "", nil},
		{ann, "GET /api/{name}/{version}/batch/{executionId}/{index}/files/{fileName} 200", "/api/s/v1/batch/" + batch.ID + "/0/files/o", "", nil},
		{bob, "GET /api/{name}/{version}/batch/{executionId}/{index}/files/{fileName} 404", "/api/s/v1/batch/" + batch.ID + "/0/files/o", "", nil},
		{bob, "DELETE /api/{name}/{version}/batch/{executionId} 404", "/api/s/v1/batch/" + spare.ID, "", nil},
		{ann, "DELETE /api/{name}/{version}/batch/{executionId} 200", "/api/s/v1/batch/" + spare.ID, "", nil},

		{bob, "POST /sessions 201", "/sessions", `{"name":"b"}`, nil},
		{bob, "POST /sessions 404", "/sessions", `{"snapshotId":"` + snap + `"}`, nil},
		{ann, "GET /sessions 200", "/sessions", "", nil},
		{ann, "GET /sessions/{id}/console-output 200", x + "/console-output", "", nil},
		{bob, "GET /sessions/{id}/console-output 404", x + "/console-output", "", nil},
		{ann, "GET /sessions/{id}/history 200", x + "/history", "", nil},
		{bob, "GET /sessions/{id}/history 404", x + "/history", "", nil},
		{ann, "POST /sessions/{id}/files 201", x + "/files", upload, []string{formType}},
		{bob, "POST /sessions/{id}/files 404", x + "/files", upload, []string{formType}},
		{ann, "GET /sessions/{id}/files 200", x + "/files", "", nil},
		{bob, "GET /sessions/{id}/files 404", x + "/files", "", nil},
		{ann, "GET /sessions/{id}/files/{fileName} 200", x + "/files/f", "", nil},
		{bob, "GET /sessions/{id}/files/{fileName} 404", x + "/files/f", "", nil},
		{bob, "DELETE /sessions/{id}/files/{fileName} 404", x + "/files/f", "", nil},
		{ann, "DELETE /sessions/{id}/files/{fileName} 200", x + "/files/f", "", nil},
		{ann, "GET /sessions/{id}/workspace 200", x + "/workspace", "", nil},
		{bob, "GET /sessions/{id}/workspace 404", x + "/workspace", "", nil},
		{ann, "GET /sessions/{id}/workspace 410", mortal + "/workspace", "", nil},
		{ann, "POST /sessions/{id}/workspace/{objectName} 200", x + "/workspace/c", object, nil},
		{bob, "POST /sessions/{id}/workspace/{objectName} 404", x + "/workspace/c", object, nil},
		{ann, "GET /sessions/{id}/workspace/{objectName} 200", x + "/workspace/a", "", nil},
		{bob, "GET /sessions/{id}/workspace/{objectName} 404", x + "/workspace/a", "", nil},
		{bob, "DELETE /sessions/{id}/workspace/{objectName} 404", x + "/workspace/a", "", nil},
		{ann, "DELETE /sessions/{id}/workspace/{objectName} 200", x + "/workspace/a", "", nil},
		{ann, "POST /sessions/{id}/execute 200", x + "/execute", `{"code":"1"}`, nil},
		{bob, "POST /sessions/{id}/execute 404", x + "/execute", `{"code":"1"}`, nil},
		{ann, "POST /sessions/{id}/snapshot 201", x + "/snapshot", `{"name":"n"}`, nil},
		{bob, "POST /sessions/{id}/snapshot 404", x + "/snapshot", `{"name":"n"}`, nil},
		{ann, "POST /sessions/{id}/loadsnapshot/{snapshotId} 200", x + "/loadsnapshot/" + snap, "", nil},
		{bob, "POST /sessions/{id}/loadsnapshot/{snapshotId} 404", x + "/loadsnapshot/" + snap, "", nil},
		{ann, "POST /sessions/{id}/cancel 200", x + "/cancel", "", nil},
		{bob, "POST /sessions/{id}/cancel 404", x + "/cancel", "", nil},
		{bob, "DELETE /sessions/{id} 404", x, "", nil},
		{bob, "DELETE /sessions/{id}/force 404", x + "/force", "", nil},
		{ann, "DELETE /sessions/{id} 200", x, "", nil},
		{ann, "DELETE /sessions/{id}/force 200", mortal + "/force", "", nil},
		{ann, "GET /snapshots 200", "/snapshots", "", nil},
		{ann, "GET /snapshots/{id} 200", "/snapshots/" + snap, "", nil},
		{bob, "GET /snapshots/{id} 404", "/snapshots/" + snap, "", nil},
		{bob, "DELETE /snapshots/{id} 404", "/snapshots/" + snap, "", nil},
		{ann, "DELETE /snapshots/{id} 200", "/snapshots/" + snap, "", nil},
		{ann, "GET /status 200", "/status", "", nil},
		{ann, "GET /swagger.json 200", "/swagger.json", "", nil},
	}
	wanted := strings.Split(strings.TrimSpace(documented+later), "\n")
	var routes, served []string
	for i, line := range wanted {
		fields := strings.Fields(line)
		routes = append(routes, fields[0]+" "+fields[1])
		if !Public(Prefix + strings.ReplaceAll(fields[1], "{refreshToken}", "x")) {
			path := strings.NewReplacer("{index}", "0", "{", "", "}", "").Replace(fields[1])
			tries = append(tries, try{nobody, routes[i] + " 401", path, "{}", nil})
		}
	}
	for _, o := range operations() {
		served = append(served, o.method+" "+o.path)
	}
	slices.Sort(routes)
	slices.Sort(served)
	require.Equal(t, routes, served)

	tested := map[string]bool{}
	for _, c := range tries {
		tested[c.line] = true
		t.Run(c.line, func(t *testing.T) {
			fields := strings.Fields(c.line)
			w := c.as.ask(fields[0], c.path, strings.NewReader(c.body), c.headers...)
			require.Equal(t, fields[2], fmt.Sprint(w.Code), w.Body)
			if w.Code >= 400 {
				for _, field := range []string{`"message":"`, `"link":"/rserver/swagger.json"`, `"exceptionType":"`} {
					require.Contains(t, w.Body.String(), field)
				}
			}
			if w.Code == http.StatusUnauthorized {
				require.True(t, c.as.name == "nobody")
			}
		})
	}
	t.Run("GET /status 500", func(t *testing.T) { // nothing can be looked at any more
		s.stop()
		require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "rserver")))
		s.as("").refused(500, "GET", "/status", nil)
		tested["GET /status 500"] = true
	})
	for _, line := range wanted {
		fields := strings.Fields(line)
		for _, status := range fields[2:] {
			require.True(t, tested[fields[0]+" "+fields[1]+" "+status], "no test of %s %s %s", fields[0], fields[1], status)
		}
	}
}

func TestExceptionTypesAreComplete(t *testing.T) {
	for _, k := range fault.Kinds() {
		require.NotEmpty(t, exceptionTypes[k], "fault %d", k)
	}
	require.Len(t, exceptionTypes, len(fault.Kinds()))
}
