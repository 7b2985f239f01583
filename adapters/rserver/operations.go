package rserver

import (
	"net/http"

	"github.com/gorilla/mux"
)

// operation is one entry of the API: its route, and its line in the API's own description.
type operation struct {
	method, path string
	id           string // operationId
	tag, summary string
	body         string   // the definition of its body; "octets", "form" or "" for none
	query        []string // names of its query parameters; "name:type" where it is no string
	status       int      // of success
	returns      string   // a definition, "string", "file", either in [brackets] for an array, or "" for nothing
	errors       []int    // the documented ones
	do           func(a *API, w http.ResponseWriter, r *http.Request) error
}

const (
	tagLogin     = "Authentication"
	tagServices  = "Services"
	tagAPI       = "Consumption"
	tagSessions  = "Sessions"
	tagSnapshots = "Snapshots"
	tagStatus    = "Status"
)

const (
	pathService  = "/services/{name}/{version}"
	pathConsume  = "/api/{name}/{version}"
	pathSession  = "/sessions/{id}"
	pathSnapshot = "/snapshots/{id}"
	pathBatch    = pathConsume + "/batch/{executionId}"
)

// operations is the whole API, with the errors that its documents name. 413, 429, 503 and the like can come everywhere.
// A function, because the description of the API is one of them.
func operations() []operation {
	return []operation{
		{"POST", "/login", "login", tagLogin, "Log in with a name and a password", "LoginRequest", nil,
			200, "AccessTokenResponse", []int{400, 401, 429}, (*API).login},
		{"POST", "/login/refreshToken", "renewToken", tagLogin, "Exchange a refresh token for new tokens", "RenewTokenRequest", nil,
			200, "AccessTokenResponse", []int{400, 401}, (*API).renewToken},
		{"DELETE", "/login/refreshToken", "revokeRefreshToken", tagLogin, "Revoke a refresh token, and all that came of its login", "", []string{"refreshToken"},
			200, "AccessTokenResponse", []int{400, 401}, (*API).revokeToken},
		{"DELETE", "/login/refreshToken/{refreshToken}", "revokeRefreshTokenByPath", tagLogin, "The same with the token in the path", "", nil,
			200, "AccessTokenResponse", []int{401}, (*API).revokeToken},

		{"GET", "/services", "getAllWebServices", tagServices, "List all services", "", nil,
			200, "[WebService]", []int{401}, (*API).listServices},
		{"GET", "/services/{name}", "getAllWebServiceVersionsByName", tagServices, "List the versions of a service", "", nil,
			200, "[WebService]", []int{401}, (*API).listServices},
		{"POST", "/services/{name}", "publishWebService", tagServices, "Publish a service; without a version it gets a GUID for one", "PublishWebServiceRequest", nil,
			201, "string", []int{400, 401, 403, 409}, (*API).publish},
		{"GET", pathService, "getWebServiceVersion", tagServices, "Describe a service", "", nil,
			200, "[WebService]", []int{401, 404}, (*API).getService},
		{"POST", pathService, "publishWebServiceVersion", tagServices, "Publish a service", "PublishWebServiceRequest", nil,
			201, "string", []int{400, 401, 403, 409}, (*API).publish},
		{"PATCH", pathService, "patchWebServiceVersion", tagServices, "Change a service", "PublishWebServiceRequest", nil,
			200, "string", []int{400, 401, 403, 404}, (*API).patchService},
		{"DELETE", pathService, "deleteWebServiceVersion", tagServices, "Delete a service", "", nil,
			200, "", []int{401, 403, 404}, (*API).deleteService},
		{"GET", pathService + "/pool", "getServicePool", tagServices, "The size of a service's pool", "", nil,
			200, "PoolSize", []int{401, 404}, (*API).getPool},
		{"PUT", pathService + "/pool", "configureServicePool", tagServices, "Set the size of a service's pool", "PoolSize", nil,
			200, "PoolSize", []int{400, 401, 403, 404}, (*API).putPool},
		{"DELETE", pathService + "/pool", "deleteServicePool", tagServices, "Give a service's pool its default size", "", nil,
			200, "PoolSize", []int{401, 403, 404}, (*API).deletePool},

		{"GET", pathConsume + "/swagger.json", "getWebServiceSwagger", tagAPI, "A service's own description, for code generators", "", nil,
			200, "SwaggerJsonResponse", []int{400, 401, 404}, (*API).serviceSwagger},
		{"POST", pathConsume, "consumeWebService", tagAPI, "Call a service", "InputParameters", nil,
			200, "WebServiceResult", []int{400, 401, 404}, (*API).consume},
		{"POST", pathConsume + "/batch", "startBatchExecution", tagAPI, "Call a service for each of many inputs", "[InputParameters]", []string{"parallelCount:integer"},
			202, "StartBatchExecutionResponse", []int{400, 401, 404}, (*API).startBatch},
		{"GET", pathConsume + "/batch", "getBatchExecutions", tagAPI, "List one's own batches of a service", "", nil,
			200, "[string]", []int{401, 404}, (*API).listBatches},
		{"GET", pathBatch, "getBatchExecutionStatus", tagAPI, "How far a batch is, and its results", "", []string{"showPartialResults:boolean"},
			200, "BatchWebServiceResult", []int{401, 404}, (*API).getBatch},
		{"DELETE", pathBatch, "cancelAndDeleteBatchExecution", tagAPI, "Cancel and delete a batch", "", nil,
			200, "[string]", []int{401, 404}, (*API).deleteBatch},
		{"GET", pathBatch + "/{index}/files", "getBatchExecutionFiles", tagAPI, "List the files of one item", "", nil,
			200, "[string]", []int{401, 404}, (*API).listBatchFiles},
		{"GET", pathBatch + "/{index}/files/{fileName}", "getBatchExecutionFile", tagAPI, "Download a file of one item", "", nil,
			200, "file", []int{401, 404}, (*API).getBatchFile},

		{"POST", "/sessions", "createSession", tagSessions, "Create a session", "CreateSessionRequest", nil,
			201, "CreateSessionResponse", []int{400, 401, 404}, (*API).createSession},
		{"GET", "/sessions", "listSessions", tagSessions, "List one's own sessions", "", nil,
			200, "[Session]", []int{401}, (*API).listSessions},
		{"DELETE", pathSession, "closeSession", tagSessions, "Close a session and delete what it has", "", nil,
			200, "string", []int{401, 404}, (*API).closeSession},
		{"DELETE", pathSession + "/force", "closeSessionByForce", tagSessions, "The same, interrupting what runs", "", nil,
			200, "string", []int{401, 404}, (*API).forceSession},
		{"GET", pathSession + "/console-output", "getSessionConsoleOutput", tagSessions, "What the current or last execution has printed", "", nil,
			200, "ConsoleOutputResponse", []int{401, 404}, (*API).consoleOutput},
		{"GET", pathSession + "/history", "getSessionHistory", tagSessions, "The expressions that were executed", "", nil,
			200, "[string]", []int{401, 404}, (*API).history},
		{"POST", pathSession + "/files", "uploadSessionFile", tagSessions, "Upload a file to the working folder", "form", nil,
			201, "", []int{400, 401, 404}, (*API).uploadFile},
		{"GET", pathSession + "/files", "listSessionFiles", tagSessions, "List the files of the working folder", "", nil,
			200, "[string]", []int{401, 404}, (*API).listFiles},
		{"GET", pathSession + "/files/{fileName}", "getSessionFile", tagSessions, "Download a file", "", nil,
			200, "file", []int{401, 404}, (*API).getFile},
		{"DELETE", pathSession + "/files/{fileName}", "deleteSessionFile", tagSessions, "Delete a file", "", nil,
			200, "", []int{401, 404}, (*API).deleteFile},
		{"GET", pathSession + "/workspace", "listWorkspaceObjects", tagSessions, "List the names of the objects", "", nil,
			200, "[string]", []int{401, 404, 410}, (*API).listObjects},
		{"POST", pathSession + "/workspace/{objectName}", "setWorkspaceObject", tagSessions, "Make an object of its serialized form", "octets", nil,
			200, "", []int{400, 401, 404}, (*API).putObject},
		{"GET", pathSession + "/workspace/{objectName}", "getWorkspaceObject", tagSessions, "Get an object in its serialized form", "", nil,
			200, "file", []int{401, 404}, (*API).getObject},
		{"DELETE", pathSession + "/workspace/{objectName}", "deleteWorkspaceObject", tagSessions, "Delete an object", "", nil,
			200, "", []int{401, 404}, (*API).deleteObject},
		{"POST", pathSession + "/execute", "executeCode", tagSessions, "Execute code", "ExecuteRequest", nil,
			200, "ExecuteResponse", []int{400, 401, 404}, (*API).execute},
		{"POST", pathSession + "/snapshot", "createSnapshot", tagSessions, "Save files and objects as a snapshot", "CreateSnapshotRequest", nil,
			201, "CreateSnapshotResponse", []int{400, 401, 402, 404}, (*API).createSnapshot},
		{"POST", pathSession + "/loadsnapshot/{snapshotId}", "loadSnapshot", tagSessions, "Load a snapshot over what the session has", "", nil,
			200, "", []int{401, 402, 404}, (*API).loadSnapshot},
		{"POST", pathSession + "/cancel", "cancelSession", tagSessions, "Interrupt the current execution", "", nil,
			200, "string", []int{401, 404}, (*API).cancelSession},

		{"GET", "/snapshots", "listSnapshots", tagSnapshots, "List one's own snapshots", "", nil,
			200, "[Snapshot]", []int{401}, (*API).listSnapshots},
		{"GET", pathSnapshot, "getSnapshot", tagSnapshots, "Download a snapshot, a zip file", "", nil,
			200, "file", []int{401, 404}, (*API).getSnapshot},
		{"DELETE", pathSnapshot, "deleteSnapshot", tagSnapshots, "Delete a snapshot", "", nil,
			200, "string", []int{401, 404}, (*API).deleteSnapshot},

		{"GET", "/status", "getStatus", tagStatus, "The health of the system", "", nil,
			200, "StatusResponse", []int{401, 500}, (*API).status},
		{"GET", "/swagger.json", "getSwagger", tagStatus, "This description", "", nil,
			200, "SwaggerJsonResponse", []int{401}, (*API).swagger},
	}
}

// patterns of variables that are not just one segment of a path.
var patterns = map[string]string{"{fileName}": `{fileName:(?s:.+)}`}

// Register adds the routes below Prefix. r matches decoded paths and does not clean them.
func (a *API) Register(r *mux.Router) {
	for _, o := range operations() {
		r.Handle(Prefix+muxPath(o.path), a.handler(o)).Methods(o.method)
	}
}

// handler writes an operation's error as the API does.
func (a *API) handler(o operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := o.do(a, w, r); err != nil {
			WriteError(w, r, a.Base, err)
		}
	})
}
