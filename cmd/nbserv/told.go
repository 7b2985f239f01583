package main

import (
	"cmp"
	"context"
	"os"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/events"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// toldStore is a contents.Store whose successes are told on the event bus.
type toldStore struct {
	contents.Store
	bus *events.Bus
}

// contentsEvent is an event of events.ContentsSchema.
type contentsEvent struct {
	Action string `json:"action"`
	Path   string `json:"path"`
	Source string `json:"source_path,omitempty"`
}

func (s toldStore) tell(action, path, source string, err error) {
	if err == nil {
		s.bus.Tell(events.ContentsSchema, contentsEvent{action, path, source})
	}
}

// told is tell for what gives a model.
func (s toldStore) told(action, source string, m *contents.Model, err error) (*contents.Model, error) {
	if err == nil {
		s.tell(action, m.Path, source, nil)
	}
	return m, err
}

func (s toldStore) Get(ctx context.Context, p contents.Path, o contents.GetOptions) (*contents.Model, error) {
	m, err := s.Store.Get(ctx, p, o)
	return s.told("get", "", m, err)
}

func (s toldStore) Save(ctx context.Context, p contents.Path, in *contents.Incoming) (*contents.Model, bool, error) {
	m, created, err := s.Store.Save(ctx, p, in)
	m, err = s.told("save", "", m, err)
	return m, created, err
}

func (s toldStore) CreateUntitled(ctx context.Context, folder contents.Path, t contents.Type, ext string) (*contents.Model, error) {
	m, err := s.Store.CreateUntitled(ctx, folder, t, ext)
	return s.told("save", "", m, err) // as the reference server calls it
}

func (s toldStore) Copy(ctx context.Context, from, to contents.Path) (*contents.Model, error) {
	m, err := s.Store.Copy(ctx, from, to)
	return s.told("copy", from.String(), m, err)
}

func (s toldStore) Rename(ctx context.Context, from, to contents.Path) (*contents.Model, error) {
	m, err := s.Store.Rename(ctx, from, to)
	return s.told("rename", from.String(), m, err)
}

func (s toldStore) Delete(ctx context.Context, p contents.Path) error {
	err := s.Store.Delete(ctx, p)
	s.tell("delete", p.String(), "", err)
	return err
}

func (s toldStore) Open(ctx context.Context, p contents.Path) (*os.File, error) {
	f, err := s.Store.Open(ctx, p)
	s.tell("get", p.String(), "", err)
	return f, err
}

// toldHost is a kernel.Host whose actions are told on the event bus, failures too.
type toldHost struct {
	kernel.Host
	bus *events.Bus
}

// kernelEvent is an event of events.KernelSchema.
type kernelEvent struct {
	Action string `json:"action"`
	ID     string `json:"kernel_id,omitempty"`
	Name   string `json:"kernel_name,omitempty"`
	Status string `json:"status"`
	Code   int    `json:"status_code,omitempty"`
	Msg    string `json:"msg"`
}

func (h toldHost) tell(action, id, name, done string, err error) error {
	e := kernelEvent{Action: action, ID: id, Name: name, Status: "success", Msg: "Kernel " + id + " was " + done + "."}
	if err != nil {
		e.Status, e.Msg, e.Code = "error", fault.Message(err), httpx.Status(fault.KindOf(err))
	}
	h.bus.Tell(events.KernelSchema, e)
	return err
}

func (h toldHost) Start(ctx context.Context, o kernel.StartOptions) (kernel.Status, error) {
	st, err := h.Host.Start(ctx, o)
	return st, h.tell("start", st.ID, cmp.Or(st.Spec, o.Spec), "started", err)
}

// spec is the name of a kernel's kernelspec, or "" when there is no such kernel.
func (h toldHost) spec(id string) string {
	st, _ := h.Host.Get(id)
	return st.Spec
}

func (h toldHost) Interrupt(ctx context.Context, id string) error {
	return h.tell("interrupt", id, h.spec(id), "interrupted", h.Host.Interrupt(ctx, id))
}

func (h toldHost) Restart(ctx context.Context, id string) error {
	return h.tell("restart", id, h.spec(id), "restarted", h.Host.Restart(ctx, id))
}

func (h toldHost) Shutdown(ctx context.Context, id string) error {
	spec := h.spec(id) // then it is gone
	return h.tell("shutdown", id, spec, "shut down", h.Host.Shutdown(ctx, id))
}
