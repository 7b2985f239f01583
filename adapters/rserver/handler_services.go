package rserver

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

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
