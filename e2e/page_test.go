package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// cell is a notebook's cell, as far as these tests look.
type cell struct {
	Type     string         `json:"cell_type"`
	ID       string         `json:"id,omitempty"`
	Metadata map[string]any `json:"metadata"`
	Source   lines          `json:"source"`
	Count    *int           `json:"execution_count"`
	Outputs  []output       `json:"outputs"`
}

type output struct {
	Type      string          `json:"output_type"`
	Name      string          `json:"name,omitempty"`
	Text      lines           `json:"text,omitempty"`
	Data      map[string]any  `json:"data,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	Count     *int            `json:"execution_count,omitempty"`
	EName     *string         `json:"ename,omitempty"`
	EValue    *string         `json:"evalue,omitempty"`
	Traceback []string        `json:"traceback,omitempty"`
}

// lines is a text, which is an array of its lines in a file.
type lines string

func (l *lines) UnmarshalJSON(b []byte) error {
	if b[0] != '[' {
		return json.Unmarshal(b, (*string)(l))
	}
	var list []string
	err := json.Unmarshal(b, &list)
	*l = lines(strings.Join(list, ""))
	return err
}

// book is a notebook.
type book struct {
	Cells    []cell         `json:"cells"`
	Metadata map[string]any `json:"metadata"`
	Major    int            `json:"nbformat"`
	Minor    int            `json:"nbformat_minor"`
}

// cells makes a notebook of code cells a, b, c…
func cells(sources ...string) book {
	nb := book{Metadata: map[string]any{}, Major: 4, Minor: 5}
	for i, s := range sources {
		nb.Cells = append(nb.Cells, cell{Type: "code", ID: string(rune('a' + i)), Metadata: map[string]any{}, Source: lines(s), Outputs: []output{}})
	}
	return nb
}

// shown is what a cell shows, as one text: streams as they are, anything else in brackets.
func (c cell) shown() string {
	var b strings.Builder
	for _, o := range c.Outputs {
		switch {
		case o.Type == "stream":
			b.WriteString(string(o.Text))
		case o.Type == "error":
			fmt.Fprintf(&b, "[%s]", *o.EName)
		default:
			fmt.Fprintf(&b, "[%v]", o.Data["text/plain"])
		}
	}
	return b.String()
}

// model is a notebook as the contents API has it.
type model struct {
	Path     string `json:"path"`
	Modified string `json:"last_modified"`
	Hash     string `json:"hash"`
	Message  string `json:"message"`
	Content  book   `json:"content"`
}

// page is a browser's page with one notebook, which does as JupyterLab 4.6 does.
type page struct {
	*socket
	s      *server
	path   string
	id     string // the session's
	nb     book
	kernel string
	hash   string // of the file as it was read or saved last
}

// write puts a notebook into the root folder.
func (s *server) write(path string, nb book) {
	s.t.Helper()
	raw, err := json.MarshalIndent(nb, "", " ")
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(filepath.Join(s.root, path), raw, 0o644))
}

// file is the notebook as it is on the disk.
func (s *server) file(path string) (nb book) {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.root, path))
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal(raw, &nb))
	return nb
}

// read is the notebook as clients get it.
func (s *server) read(path string) (m model) {
	s.t.Helper()
	require.Equal(s.t, 200, s.call("GET", "api/contents/"+path+"?content=1&hash=1", nil, &m).StatusCode)
	require.Empty(s.t, m.Message)
	return m
}

// open is a page that shows a notebook and joins its kernel.
func (s *server) open(path string) *page {
	s.t.Helper()
	m := s.read(path)
	var session struct {
		ID     string `json:"id"`
		Kernel struct {
			ID string `json:"id"`
		} `json:"kernel"`
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	require.Equal(s.t, 201, s.call("POST", "api/sessions", map[string]any{"path": path, "name": name, "type": "notebook",
		"kernel": map[string]any{"name": "python3"}}, &session).StatusCode)
	return &page{socket: s.dial(s.t, session.Kernel.ID), s: s, path: path, id: session.ID, kernel: session.Kernel.ID, nb: m.Content, hash: m.Hash}
}

// in is s for a sub-test.
func (s *server) in(t *testing.T) *server {
	one := *s
	one.t = t
	return &one
}

// wake connects a page again that was asleep.
func (p *page) wake() {
	p.t.Helper()
	conn, _, err := p.s.upgrade(p.kernel+"/channels?session_id="+p.session, p.s.bearer())
	require.NoError(p.t, err)
	p.t.Cleanup(func() { conn.Close() })
	p.Conn = conn
}

// clear clears a cell by hand.
func (p *page) clear(id string) { p.cell(id).Outputs, p.cell(id).Count = []output{}, nil }

// idle waits until a kernel has nothing to do.
func (s *server) idle(kernel string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		var m struct {
			State string `json:"execution_state"`
		}
		s.call("GET", "api/kernels/"+kernel, nil, &m)
		return m.State == "idle"
	}, patience, 10*time.Millisecond)
}

// cell finds a cell of the page.
func (p *page) cell(id string) *cell {
	for i := range p.nb.Cells {
		if p.nb.Cells[i].ID == id {
			return &p.nb.Cells[i]
		}
	}
	panic("no cell " + id)
}

// start runs a cell, which loses what it shows.
func (p *page) start(id string) (msgID string) {
	p.t.Helper()
	p.clear(id)
	msgID = uuid.NewString()
	content := code(string(p.cell(id).Source))
	content["allow_stdin"] = true
	require.NoError(p.t, p.WriteJSON(map[string]any{
		"channel":       "shell",
		"header":        map[string]any{"msg_id": msgID, "msg_type": "execute_request", "session": p.session, "username": "e2e", "version": "5.4", "date": "2026-01-01T00:00:00Z"},
		"parent_header": map[string]any{}, "content": content,
		"metadata": map[string]any{"trusted": true, "deletedCells": []string{}, "recordTiming": false, "cellId": id},
	}))
	return msgID
}

// until reads until the kernel has said text in a stream of the request.
func (p *page) until(msgID, text string) {
	p.t.Helper()
	for seen := ""; !strings.Contains(seen, text); {
		m, err := p.next()
		require.NoError(p.t, err)
		if m.Parent.MsgID == msgID {
			seen += m.Content.Text
		}
	}
}

// leave closes the page, as a browser does.
func (p *page) leave() {
	p.t.Helper()
	require.NoError(p.t, p.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(patience)))
	p.closeCode()
	p.Close()
}

// sleep is a laptop that is closed: nothing says goodbye.
func (p *page) sleep() { _ = p.NetConn().Close() }

// conflict says whether a page that saves now would ask its user what to do: the file is not what it knows.
func (p *page) conflict() bool {
	p.t.Helper()
	var m model
	p.s.call("GET", "api/contents/"+p.path+"?content=0&hash=1", nil, &m)
	return m.Hash != p.hash
}

// save saves what the page shows.
func (p *page) save() {
	p.t.Helper()
	require.False(p.t, p.conflict(), "the page would ask about a conflict")
	require.Equal(p.t, 200, p.s.call("PUT", "api/contents/"+p.path, map[string]any{"type": "notebook", "format": "json", "content": p.nb}, nil).StatusCode)
	var m model
	p.s.call("GET", "api/contents/"+p.path+"?content=0&hash=1", nil, &m)
	p.hash = m.Hash
}

// shows waits until a reader gets text for a cell.
func (s *server) shows(path, id, text string) cell {
	s.t.Helper()
	var last cell
	require.Eventually(s.t, func() bool {
		for _, c := range s.read(path).Content.Cells {
			if c.ID == id {
				last = c
			}
		}
		return last.shown() == text
	}, patience, 10*time.Millisecond, "%s shows %q, now %q", id, text, &shownLater{&last})
	return last
}

// shownLater says what a cell shows when it is asked.
type shownLater struct{ c *cell }

func (l *shownLater) String() string { return l.c.shown() }

// gate is Python that waits until go(name) is called.
func gate(name string) string {
	return fmt.Sprintf("import os, time\nwhile not os.path.exists(%q): time.sleep(.01)\n", name)
}

func (s *server) pass(name string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.root, name), nil, 0o644))
}
