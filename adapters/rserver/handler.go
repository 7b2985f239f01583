package rserver

import (
	"cmp"
	"context"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// Prefix is where the routes are. On an address of its own the API is at the root, and requests are given the prefix.
const Prefix = "/rserver"

const (
	maxLogin   = 64 << 10
	maxRequest = 256 << 20 // of JSON: data frames come in it
)

// API serves a Server. Safe for concurrent use.
type API struct {
	Server *Server
	Auth   *auth.Auth
	// Base is the path below which clients find the API, without a slash at the end. See AtRoot.
	Base string
}

type rootKey struct{}

// AtRoot serves the API at the root of an address: next gets the requests with the prefix.
func AtRoot(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), rootKey{}, true))
		u := *r.URL
		u.Path = Prefix + u.Path
		if u.RawPath != "" {
			u.RawPath = Prefix + u.RawPath
		}
		r.URL = &u
		next.ServeHTTP(w, r)
	})
}

// baseOf is the path below which the client of a request finds the API; elsewhere is where it is but for AtRoot.
func baseOf(r *http.Request, elsewhere string) string {
	if r.Context().Value(rootKey{}) != nil {
		return ""
	}
	return elsewhere
}

// Has tells whether a path, decoded and without a base URL, belongs to this API.
func Has(path string) bool { return path == Prefix || strings.HasPrefix(path, Prefix+"/") }

// Public tells whether a path asks for no credentials: how one gets and gives them back.
func Public(path string) bool {
	return path == Prefix+"/login" || path == Prefix+"/login/refreshToken" || strings.HasPrefix(path, Prefix+"/login/refreshToken/")
}

// WriteError answers with an Error, and notes err for the access log. base is API.Base.
func WriteError(w http.ResponseWriter, r *http.Request, base string, err error) {
	base = baseOf(r, base)
	httpx.NoteError(r.Context(), err)
	kind := fault.KindOf(err)
	body := apiError{Message: fault.Message(err), Link: base + "/swagger.json", ExceptionType: exceptionTypes[kind]}
	status := httpx.Status(kind)
	if isRequestFailed(err) {
		status, body.ExceptionType = http.StatusPaymentRequired, requestFailedType
	}
	if id := httpx.RequestID(r.Context()); kind == fault.Internal && id != "" {
		body.Message += " (request " + id + ")"
	}
	if (kind == fault.Busy || kind == fault.TooMany) && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(1))
	}
	_ = httpx.WriteJSON(w, status, body)
}

func muxPath(path string) string {
	for name, pattern := range patterns {
		path = strings.ReplaceAll(path, name, pattern)
	}
	return path
}

func owner(r *http.Request) string { return auth.Owner(r.Context()) }

func answer(w http.ResponseWriter, v any) error { return httpx.WriteJSON(w, http.StatusOK, v) }

// ok answers 200 without a body.
func ok(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// sendFile answers with the bytes of a user's file, which no browser may take for a page of ours (S7).
func sendFile(w http.ResponseWriter, r *http.Request, f *os.File, name, contentType string) error {
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fault.OS(err, "the file")
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	httpx.AddCSP(w, "sandbox")
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

const octets = "application/octet-stream"

func (a *API) login(w http.ResponseWriter, r *http.Request) error {
	var req loginRequest
	if err := httpx.ReadJSON(w, r, maxLogin, &req); err != nil {
		return err
	}
	if req.Username == "" || req.Password == "" {
		return fault.New(fault.Invalid, `fields "username" and "password" are needed`)
	}
	grant, err := a.Auth.LogIn(w, r, req.Username, req.Password)
	return grantAnswer(w, grant, err)
}

func grantAnswer(w http.ResponseWriter, g auth.Grant, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store") // RFC 6749, 5.1
	return answer(w, accessTokenResponse{
		TokenType: "Bearer", AccessToken: g.Access, ExpiresIn: int64(g.Life.Seconds()),
		ExpiresOn: g.Expires.Unix(), RefreshToken: g.Refresh,
	})
}

func (a *API) renewToken(w http.ResponseWriter, r *http.Request) error {
	var req renewTokenRequest
	if err := httpx.ReadJSON(w, r, maxLogin, &req); err != nil {
		return err
	}
	if req.RefreshToken == "" {
		return fault.New(fault.Invalid, `field "refreshToken" is missing`)
	}
	grant, err := a.Auth.RefreshGrant(r.Context(), req.RefreshToken)
	return grantAnswer(w, grant, err)
}

// revokeToken answers in the form of the other two, with tokens that are good for nothing.
func (a *API) revokeToken(w http.ResponseWriter, r *http.Request) error {
	token := mux.Vars(r)["refreshToken"]
	if token == "" {
		token = r.URL.Query().Get("refreshToken")
	}
	if token == "" {
		return fault.New(fault.Invalid, `query "refreshToken" is missing`)
	}
	if err := a.Auth.RevokeGrant(r.Context(), token); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, accessTokenResponse{TokenType: "Bearer", ExpiresOn: time.Now().Unix()})
}

func (a *API) status(w http.ResponseWriter, r *http.Request) error {
	status, err := a.Server.status(r.Context(), a.address(r))
	if err != nil {
		return err
	}
	return answer(w, status)
}

// address is where the client has found the API.
func (a *API) address(r *http.Request) string {
	client := httpx.ClientOf(r)
	u := url.URL{Scheme: "http", Host: client.Host, Path: baseOf(r, a.Base)}
	if client.TLS {
		u.Scheme = "https"
	}
	return u.String()
}

func (a *API) swagger(w http.ResponseWriter, r *http.Request) error {
	return answer(w, description(baseOf(r, a.Base), httpx.ClientOf(r).Host))
}

// key is the service that a path names.
func key(r *http.Request) serviceKey {
	vars := mux.Vars(r)
	return serviceKey{vars["name"], vars["version"]}
}

func (a *API) listServices(w http.ResponseWriter, r *http.Request) error {
	return answer(w, a.Server.listServices(owner(r), key(r).name))
}

// getService answers with an array of one, as the API's schema has it.
func (a *API) getService(w http.ResponseWriter, r *http.Request) error {
	x, err := a.Server.service(key(r))
	if err != nil {
		return err
	}
	return answer(w, []serviceModel{x.model(owner(r))})
}

// unnamed makes Invalid of a service that cannot exist.
func unnamed(k serviceKey, err error) error {
	if fault.KindOf(err) == fault.NotFound {
		return cmp.Or(checkServiceName("name", k.name), checkServiceName("version", k.version), err)
	}
	return err
}

func (a *API) publish(w http.ResponseWriter, r *http.Request) error {
	var req publishRequest
	if err := httpx.ReadJSON(w, r, maxRequest, &req); err != nil {
		return err
	}
	k := key(r)
	k, err := a.Server.publish(r.Context(), owner(r), k.name, k.version, req)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusCreated, a.serviceURL(r, k))
}

// serviceURL is where a service is called; its last segment is the version.
func (a *API) serviceURL(r *http.Request, k serviceKey) string {
	return a.address(r) + "/api/" + url.PathEscape(k.name) + "/" + url.PathEscape(k.version)
}

func (a *API) patchService(w http.ResponseWriter, r *http.Request) error {
	var req publishRequest
	if err := httpx.ReadJSON(w, r, maxRequest, &req); err != nil {
		return err
	}
	if err := a.Server.patch(r.Context(), owner(r), key(r), req); err != nil {
		return err
	}
	return answer(w, a.serviceURL(r, key(r)))
}

func (a *API) deleteService(w http.ResponseWriter, r *http.Request) error {
	if err := a.Server.unpublish(r.Context(), owner(r), key(r)); err != nil {
		return err
	}
	return ok(w)
}

func (a *API) getPool(w http.ResponseWriter, r *http.Request) error {
	x, err := a.Server.service(key(r))
	if err != nil {
		return err
	}
	return answer(w, x.pool.model())
}

func (a *API) putPool(w http.ResponseWriter, r *http.Request) error {
	var req struct{ InitialPoolSize, MaxPoolSize *int }
	if err := httpx.ReadJSON(w, r, maxLogin, &req); err != nil {
		return err
	}
	if req.InitialPoolSize == nil || req.MaxPoolSize == nil {
		return fault.New(fault.Invalid, `fields "InitialPoolSize" and "MaxPoolSize" are needed`)
	}
	return a.setPool(w, r, poolSize{*req.InitialPoolSize, *req.MaxPoolSize})
}

func (a *API) deletePool(w http.ResponseWriter, r *http.Request) error {
	return a.setPool(w, r, poolSize{-1, -1})
}

func (a *API) setPool(w http.ResponseWriter, r *http.Request, size poolSize) error {
	x, err := a.Server.setPool(r.Context(), owner(r), key(r), size)
	if err != nil {
		return err
	}
	return answer(w, x.pool.model())
}

func (a *API) serviceSwagger(w http.ResponseWriter, r *http.Request) error {
	x, err := a.Server.service(key(r))
	if err != nil {
		return unnamed(key(r), err)
	}
	return answer(w, x.swagger(baseOf(r, a.Base), httpx.ClientOf(r).Host))
}

func (a *API) consume(w http.ResponseWriter, r *http.Request) error {
	var args arguments
	if err := httpx.ReadJSON(w, r, maxRequest, &args); err != nil {
		return err
	}
	result, err := a.Server.consume(r.Context(), key(r), args)
	if err != nil {
		return unnamed(key(r), err)
	}
	return answer(w, result)
}

func (a *API) startBatch(w http.ResponseWriter, r *http.Request) error {
	parallel := 0
	if text := r.URL.Query().Get("parallelCount"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fault.New(fault.Invalid, `query "parallelCount" should be a number from 1 on, not %.20q`, text)
		}
		parallel = n
	}
	var items []arguments
	if err := httpx.ReadJSON(w, r, maxRequest, &items); err != nil {
		return err
	}
	id, err := a.Server.startBatch(r.Context(), owner(r), key(r), items, parallel)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusAccepted, startBatchResponse{id, id})
}

func (a *API) listBatches(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.Server.service(key(r)); err != nil {
		return err
	}
	return answer(w, a.Server.listBatches(owner(r), key(r)))
}

func (a *API) batch(r *http.Request) (*batch, error) {
	return a.Server.batch(owner(r), key(r), mux.Vars(r)["executionId"])
}

// getBatch takes both spellings of the query: the documents' and azureml-model-management-sdk's.
func (a *API) getBatch(w http.ResponseWriter, r *http.Request) error {
	b, err := a.batch(r)
	if err != nil {
		return err
	}
	partial := false
	for _, name := range []string{"showPartialResults", "showPartialResult"} {
		if on, err := strconv.ParseBool(strings.ToLower(r.URL.Query().Get(name))); err == nil && on {
			partial = true
		}
	}
	result, err := b.result(partial)
	if err != nil {
		return err
	}
	return answer(w, result)
}

func (a *API) deleteBatch(w http.ResponseWriter, r *http.Request) error {
	id := mux.Vars(r)["executionId"]
	if err := a.Server.deleteBatch(r.Context(), owner(r), key(r), id); err != nil {
		return err
	}
	return answer(w, []string{id})
}

func (a *API) batchItem(r *http.Request) (*batch, int, error) {
	b, err := a.batch(r)
	if err != nil {
		return nil, 0, err
	}
	i, err := b.item(mux.Vars(r)["index"])
	return b, i, err
}

func (a *API) listBatchFiles(w http.ResponseWriter, r *http.Request) error {
	b, i, err := a.batchItem(r)
	if err != nil {
		return err
	}
	names, err := b.files(i)
	if err != nil {
		return err
	}
	return answer(w, names)
}

func (a *API) getBatchFile(w http.ResponseWriter, r *http.Request) error {
	b, i, err := a.batchItem(r)
	if err != nil {
		return err
	}
	name := mux.Vars(r)["fileName"]
	f, err := openBatchFile(b.fileDir(i), name)
	if err != nil {
		return err
	}
	return sendFile(w, r, f, name, octets)
}
