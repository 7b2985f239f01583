package rserver

import (
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
