package overlay

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// Execution is an execution of a cell that has not ended.
type Execution struct {
	ID       string          `json:"msg_id"`
	Cell     string          `json:"cell_id"`
	State    string          `json:"state"`           // queued or running
	Count    *int            `json:"execution_count"` // null while the kernel has not given one
	Position string          `json:"position"`        // just before it in the kernel's journal
	Input    *ExecutionInput `json:"input"`           // null while it waits for none
	Session  string          `json:"client_session"`  // that asked for it
	Orphaned bool            `json:"orphaned"`        // its page has gone
}

// ExecutionInput is what an execution waits to be told.
type ExecutionInput struct {
	Prompt   string `json:"prompt"`
	Password bool   `json:"password"`
}

// Executions gives the executions of cells that a kernel has not ended, in the order they were asked for.
func (k *Keeper) Executions(ctx context.Context, kernelID string) ([]Execution, error) {
	b, err := k.look(ctx, kernelID)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []Execution{}
	for _, x := range b.order {
		if x.State == ended {
			continue
		}
		e := Execution{ID: x.ID, Cell: x.Cell, State: x.State, Position: kernel.Position{Epoch: b.At.Epoch, Seq: x.Seq - 1}.String(),
			Session: x.Session, Orphaned: !b.isHere(x.Session)}
		if count := x.Count; count > 0 {
			e.Count = &count
		}
		if x.Input != nil {
			e.Input = &ExecutionInput{Prompt: x.Input.Text, Password: x.Input.Password}
		}
		list = append(list, e)
	}
	return list, nil
}

// look gives a kernel's book when it knows all that was said. A kernel that is not there is NotFound.
func (k *Keeper) look(ctx context.Context, kernelID string) (*book, error) {
	if _, err := k.host.Get(kernelID); err != nil {
		return nil, err
	}
	b := k.book(kernelID)
	ctx, cancel := context.WithTimeout(ctx, syncWait)
	defer cancel()
	k.catchUp(ctx, b, true)
	return b, nil
}

// secret is what is shown of a password, as in JupyterLab.
const secret = "········"

// Answer tells an execution that waits for input what it asked for, in the place of the page that has gone. One that is
// not there or has ended is NotFound, one that waits for nothing Conflict.
func (k *Keeper) Answer(ctx context.Context, kernelID, msgID, value string) error {
	b, err := k.look(ctx, kernelID)
	if err != nil {
		return err
	}
	asked, err := b.asking(msgID)
	if err != nil {
		return err
	}
	if asked.Password {
		b.typed(msgID, asked, secret)
	} else {
		b.typed(msgID, asked, value)
	}
	if err := k.reply(kernelID, asked, value); err != nil {
		b.typed(msgID, asked, "")
		return err
	}
	return nil
}

// asking gives the prompt that an execution waits at.
func (b *book) asking(msgID string) (*prompt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.byID[msgID]
	switch {
	case x == nil || x.State == ended:
		return nil, fault.New(fault.NotFound, "execution %q does not run", msgID)
	case x.Input == nil:
		return nil, fault.New(fault.Conflict, "execution %q does not wait for input", msgID)
	}
	return x.Input, nil
}

// typed notes what is shown as the answer to a prompt, once the kernel goes on.
func (b *book) typed(msgID string, asked *prompt, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if x := b.byID[msgID]; x != nil && x.Input == asked {
		asked.Typed = text
	}
}

// reply sends an input_reply.
func (k *Keeper) reply(kernelID string, asked *prompt, value string) error {
	session := uuid.NewString()
	header, _ := json.Marshal(map[string]string{ // texts only
		"msg_id": uuid.NewString(), "msg_type": "input_reply", "session": session, "username": "nbserv",
		"date": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), "version": "5.4",
	})
	content, _ := json.Marshal(map[string]string{"status": "ok", "value": value})
	m, err := kernel.NewMessage(kernel.Stdin, [4]json.RawMessage{header, asked.Header, json.RawMessage("{}"), content}, nil)
	if err != nil {
		return err
	}
	c, err := k.host.Attach(kernelID, kernel.AttachOptions{ClientSession: session, Transient: true})
	if err != nil {
		return err
	}
	defer c.Detach()
	return c.Send(m)
}

// API is the REST surface of executions under way.
type API struct {
	Keeper *Keeper
}

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *API) Register(r *mux.Router) {
	r.Handle("/api/kernels/{id}/executions", httpx.Handler(a.list)).Methods(http.MethodGet)
	r.Handle("/api/kernels/{id}/executions/{msg_id}/input", httpx.Handler(a.answer)).Methods(http.MethodPost)
}

func (a *API) list(w http.ResponseWriter, r *http.Request) error {
	list, err := a.Keeper.Executions(r.Context(), mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, list)
}

// maxInputBytes bounds what is typed into a cell.
const maxInputBytes = 1 << 20

func (a *API) answer(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Value *string `json:"value"`
	}
	if err := httpx.ReadJSON(w, r, maxInputBytes, &body); err != nil {
		return err
	}
	if body.Value == nil {
		return fault.New(fault.Invalid, "missing field: value")
	}
	vars := mux.Vars(r)
	if err := a.Keeper.Answer(r.Context(), vars["id"], vars["msg_id"], *body.Value); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
