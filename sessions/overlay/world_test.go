package overlay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
	"github.com/nbserv/nbserv/sessions"
	"github.com/nbserv/nbserv/sessions/overlay"
)

const (
	patience = 60 * time.Second
	tick     = 2 * time.Millisecond
)

// world is a server's rooms without its HTTP: kernels that read the language below, sessions, files, overlays.
type world struct {
	t        testing.TB
	root     string
	database string
	cfg      overlay.Config
	host     *kernel.Manager
	sessions *sessions.Manager
	keeper   *overlay.Keeper
	files    *contents.Dir
	stop     func()

	mu    sync.Mutex
	gates map[string]chan struct{} // guarded by mu
}

// newWorld makes a world whose Keeper writes nothing into files by itself, unless cfg says so.
func newWorld(t testing.TB, cfg overlay.Config) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), database: filepath.Join(t.TempDir(), "state.db"), cfg: cfg, gates: map[string]chan struct{}{}}
	data := t.TempDir()
	kerneltest.WriteSpec(t, data, "script", map[string]any{
		"argv": []string{"script", "{connection_file}"}, "metadata": map[string]any{"nbserv": map[string]any{"transport": "ipc"}},
	})
	prov := kerneltest.NewProvisioner(t, kerneltest.Options{Script: w.script})
	w.host = kernel.NewManager(kernel.Config{RootDir: w.root, RestartLimit: -1, ShutdownWait: 100 * time.Millisecond},
		kernel.NewSpecs(kernel.SpecsConfig{DataDirs: []string{data}, DefaultName: "script"}), prov, nil)
	t.Cleanup(func() { require.NoError(t, w.host.Close(context.Background())) })
	w.begin(w.database)
	t.Cleanup(func() { w.stop() })
	return w
}

// begin begins the part of the world that ends with a server.
func (w *world) begin(database string) {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(w.t.Context(), database, log, sessions.Schema, overlay.Schema)
	require.NoError(w.t, err)
	w.sessions, err = sessions.New(w.t.Context(), sessions.Config{}, w.host, sessions.NewSQLite(db))
	require.NoError(w.t, err)
	w.keeper, err = overlay.New(w.t.Context(), w.cfg, w.host, w.sessions, overlay.NewSQLite(db))
	require.NoError(w.t, err)
	cfg := contents.DefaultConfig()
	cfg.RootDir, cfg.Overlays = w.root, w.keeper
	w.files, err = contents.New(cfg)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.keeper.Run(ctx, w.files) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		require.NoError(w.t, w.files.Close())
		require.NoError(w.t, db.Close())
	})
}

// restart is another server with the same kernels. A crash loses what the first one would have written down last.
func (w *world) restart(crash bool) {
	w.t.Helper()
	before := filepath.Join(w.t.TempDir(), "state.db")
	if crash {
		db, err := store.Open(w.t.Context(), w.database, slog.New(slog.DiscardHandler))
		require.NoError(w.t, err)
		require.NoError(w.t, db.Backup(w.t.Context(), before))
		require.NoError(w.t, db.Close())
	}
	w.stop()
	if crash {
		w.database = before
	}
	w.begin(w.database)
	w.t.Cleanup(w.stop)
}

// script runs cells: one command a line.
//
//	out "text"            stdout
//	err "text"            stderr
//	show ID "text"        display_data, under the id unless that is -
//	update ID "text"      update_display_data
//	clear, clear wait     clear_output
//	result "text"         execute_result
//	fail "text"           an error
//	input "prompt"        ask, and print the answer
//	wait NAME             until the test opens that gate
func (w *world) script(r *kerneltest.Request) {
	for line := range strings.Lines(r.Code()) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		id, quoted, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, `"`) {
			id, quoted = "", rest
		}
		text, _ := strconv.Unquote(quoted)
		display := map[string]any{"data": map[string]string{"text/plain": text}, "metadata": map[string]any{}, "transient": map[string]string{"display_id": id}}
		switch verb {
		case "out":
			r.Stream("stdout", text)
		case "err":
			r.Stream("stderr", text)
		case "show":
			r.Publish("display_data", display)
		case "update":
			r.Publish("update_display_data", display)
		case "clear":
			r.Publish("clear_output", map[string]bool{"wait": rest == "wait"})
		case "result":
			r.Result(text)
		case "fail":
			r.Error("Failure", text)
			return
		case "input":
			value, ok := r.Input(text, strings.HasPrefix(text, "password"))
			if !ok {
				r.Error("KeyboardInterrupt", "")
				return
			}
			r.Stream("stdout", "got "+value+"\n")
		case "wait":
			select {
			case <-w.gate(rest):
			case <-r.Done():
				r.Error("KeyboardInterrupt", "")
				return
			}
		}
	}
}

func (w *world) gate(name string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gates[name] == nil {
		w.gates[name] = make(chan struct{})
	}
	return w.gates[name]
}

func (w *world) pass(name string) { close(w.gate(name)) }

// cell is a notebook's cell, as far as these tests look.
type cell struct {
	Type     string            `json:"cell_type"`
	ID       string            `json:"id,omitempty"`
	Metadata json.RawMessage   `json:"metadata"`
	Source   any               `json:"source"`
	Count    *int              `json:"execution_count"`
	Outputs  []json.RawMessage `json:"outputs"`
}

// notebook is one of code cells.
type notebook struct {
	Cells    []cell          `json:"cells"`
	Metadata json.RawMessage `json:"metadata"`
	Major    int             `json:"nbformat"`
	Minor    int             `json:"nbformat_minor"`
}

func codeCell(id, source string) cell {
	return cell{Type: "code", ID: id, Metadata: json.RawMessage(`{}`), Source: source, Outputs: []json.RawMessage{}}
}

// cells makes a notebook of the cells a, b, c…
func cells(sources ...string) notebook {
	nb := notebook{Metadata: json.RawMessage(`{}`), Major: 4, Minor: 5}
	for i, s := range sources {
		nb.Cells = append(nb.Cells, codeCell(string(rune('a'+i)), s))
	}
	return nb
}

// withoutIDs is nb as nbformat 4.4 has it.
func withoutIDs(nb notebook) notebook {
	nb.Minor = 4
	for i := range nb.Cells {
		nb.Cells[i].ID = ""
	}
	return nb
}

// shown is what a cell shows as one text: streams as they are (but stdout's with their names), anything else in brackets.
func (c cell) shown() string {
	var b strings.Builder
	for _, raw := range c.Outputs {
		var o struct {
			Type  string `json:"output_type"`
			Name  string `json:"name"`
			Text  any    `json:"text"`
			EName string `json:"ename"`
			Data  struct {
				Text any `json:"text/plain"`
			} `json:"data"`
		}
		if err := json.Unmarshal(raw, &o); err != nil {
			return err.Error()
		}
		switch {
		case o.Type == "stream" && o.Name != "stdout":
			fmt.Fprintf(&b, "<%s>%s", o.Name, joined(o.Text))
		case o.Type == "stream":
			b.WriteString(joined(o.Text))
		case o.Type == "error":
			fmt.Fprintf(&b, "[%s]", o.EName)
		default:
			fmt.Fprintf(&b, "[%s]", joined(o.Data.Text))
		}
	}
	return b.String()
}

// joined is a text or its lines.
func joined(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b strings.Builder
	if list, ok := v.([]any); ok {
		for _, line := range list {
			b.WriteString(line.(string))
		}
	}
	return b.String()
}

func (w *world) path(name string) contents.Path {
	w.t.Helper()
	p, err := contents.ParsePath(name)
	require.NoError(w.t, err)
	return p
}

func (w *world) write(name string, nb notebook) {
	w.t.Helper()
	raw, err := json.MarshalIndent(nb, "", " ")
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(filepath.Join(w.root, name), raw, 0o644))
}

// onDisk is a cell as the file has it.
func (w *world) onDisk(name string, at int) cell {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.root, name))
	require.NoError(w.t, err)
	var nb notebook
	require.NoError(w.t, json.Unmarshal(raw, &nb))
	return nb.Cells[at]
}

// read is a notebook as clients get it, with its file's hash.
func (w *world) read(name string) (nb notebook, hash string) {
	w.t.Helper()
	m, err := w.files.Get(w.t.Context(), w.path(name), contentsWanted)
	require.NoError(w.t, err)
	defer m.Close()
	require.Empty(w.t, m.Message)
	var b bytes.Buffer
	require.NoError(w.t, m.WriteJSON(&b))
	var model struct {
		Content notebook `json:"content"`
	}
	require.NoError(w.t, json.Unmarshal(b.Bytes(), &model))
	return model.Content, m.Hash
}

// shows waits until a reader gets text for the cell.
func (w *world) shows(name string, at int, text string) cell {
	w.t.Helper()
	var c cell
	require.Eventually(w.t, func() bool {
		nb, _ := w.read(name)
		c = nb.Cells[at]
		return c.shown() == text
	}, patience, tick, "want %q, last %v", text, later(func() string { return c.shown() }))
	return c
}

// later is a text that is made when it is needed.
type later func() string

func (l later) String() string { return l() }

func (w *world) save(name string, nb notebook) {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"type": "notebook", "format": "json", "content": nb})
	require.NoError(w.t, err)
	_, _, err = w.files.Save(w.t.Context(), w.path(name), contents.NewIncoming(bytes.NewReader(body), 1<<30))
	require.NoError(w.t, err)
}

// page shows a notebook and has a client at its kernel.
type page struct {
	w       *world
	name    string
	kernel  string
	session string // the client session
	id      string // the session's
	client  kernel.Client
	nb      notebook
	hash    string
}

func (w *world) open(name string) *page {
	w.t.Helper()
	p := &page{w: w, name: name, session: uuid.NewString()}
	p.nb, p.hash = w.read(name)
	p.join()
	return p
}

// join gives the page a session and its kernel.
func (p *page) join() {
	p.w.t.Helper()
	s, err := p.w.sessions.Create(p.w.t.Context(), sessions.CreateRequest{
		Path: p.name, Name: filepath.Base(p.name), Type: "notebook", KernelID: p.kernel,
	})
	require.NoError(p.w.t, err)
	p.kernel, p.id = s.Kernel.ID, s.ID
	p.attach()
}

// contentsWanted asks for a notebook.
var contentsWanted = contents.GetOptions{Content: true, Hash: true}

func (p *page) attach() {
	p.w.t.Helper()
	require.NoError(p.w.t, p.w.host.Ready(p.w.t.Context(), p.kernel))
	c, err := p.w.host.Attach(p.kernel, kernel.AttachOptions{ClientSession: p.session})
	require.NoError(p.w.t, err)
	p.client = c
	p.w.t.Cleanup(c.Detach)
}

// run asks for a cell, which loses what it shows.
func (p *page) run(at int) (msgID string) {
	p.w.t.Helper()
	c := &p.nb.Cells[at]
	c.Outputs, c.Count = []json.RawMessage{}, nil
	return p.ask(c.ID, joined(c.Source))
}

func (p *page) ask(cellID, code string) (msgID string) {
	p.w.t.Helper()
	msgID = uuid.NewString()
	raw := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		require.NoError(p.w.t, err)
		return b
	}
	m, err := kernel.NewMessage(kernel.Shell, [4]json.RawMessage{
		raw(map[string]string{"msg_id": msgID, "msg_type": "execute_request", "session": p.session, "username": "test", "version": "5.4"}),
		json.RawMessage(`{}`),
		raw(map[string]any{"cellId": cellID, "trusted": true, "deletedCells": []string{}, "recordTiming": false}),
		raw(map[string]any{"code": code, "silent": false, "store_history": true, "allow_stdin": true, "stop_on_error": true}),
	}, nil)
	require.NoError(p.w.t, err)
	require.NoError(p.w.t, p.client.Send(m))
	return msgID
}

// until reads until a message of the type has come because of the request.
func (p *page) until(msgID, kind string) {
	p.w.t.Helper()
	p.read(func(m *kernel.Message) bool { return m.Parent.MsgID == msgID && m.Header.MsgType == kind })
}

// done reads until a request has ended.
func (p *page) done(msgID string) {
	p.w.t.Helper()
	replied, idle := false, false
	p.read(func(m *kernel.Message) bool {
		if m.Parent.MsgID == msgID {
			replied = replied || m.Header.MsgType == "execute_reply"
			idle = idle || strings.Contains(string(m.Parts[kernel.PartContent]), `"idle"`)
		}
		return replied && idle
	})
}

// read reads until a message is the last one wanted.
func (p *page) read(last func(*kernel.Message) bool) {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(p.w.t.Context(), patience)
	defer cancel()
	buf := make([]kernel.Entry, 1)
	for {
		n, err := p.client.Next(ctx, buf)
		require.NoError(p.w.t, err)
		if m := buf[0].Message; n == 1 && m != nil && last(m) {
			return
		}
	}
}

// leave closes the page; fallAsleep closes the laptop.
func (p *page) leave()      { p.part(true) }
func (p *page) fallAsleep() { p.part(false) }

func (p *page) part(left bool) {
	p.w.keeper.Closed(p.kernel, p.session, left)
	p.client.Detach()
}

// save saves what the page shows, as JupyterLab does: it would ask its user if the file were not the one it knows.
func (p *page) save() {
	p.w.t.Helper()
	require.False(p.w.t, p.conflict(), "the page would ask about a changed file")
	p.w.save(p.name, p.nb)
	p.hash = p.diskHash()
}

func (p *page) diskHash() string {
	m, err := p.w.files.Get(p.w.t.Context(), p.w.path(p.name), contents.GetOptions{Hash: true})
	require.NoError(p.w.t, err)
	return m.Hash
}

func (p *page) conflict() bool { return p.diskHash() != p.hash }

// clear clears a cell by hand.
func (p *page) clear(at int) {
	p.nb.Cells[at].Outputs, p.nb.Cells[at].Count = []json.RawMessage{}, nil
}

// idle waits until the kernel has nothing to do.
func (w *world) idle(kernelID string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		st, err := w.host.Get(kernelID)
		return err == nil && st.ExecutionState == "idle"
	}, patience, tick)
}
