package codeinterpreter

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// about is what runs in a pool's sessions.
type about struct {
	Runtimes []runtime     `json:"runtimes"`
	Packages []packageInfo `json:"preInstalledPackages"`
	Kernel   kernelInfo    `json:"jupyterKernel"`

	enforced kernel.Enforced // the limits that were in force for the kernel that was asked
}

type runtime struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type packageInfo = runtime

type kernelInfo struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	ProjectURL  string `json:"projectUrl"`
	Description string `json:"description"`
}

// info is about, asked for once.
type info struct {
	mu   sync.Mutex // held while a kernel is asked
	told *about     // guarded by mu
}

// aboutTimeout bounds how long a kernel is asked about itself.
const aboutTimeout = time.Minute

// about tells what runs in the pool's sessions: a kernel of its own is asked, which no client uses.
func (p *pool) about(ctx context.Context) (about, error) {
	if err := p.usable(); err != nil {
		return about{}, err
	}
	p.info.mu.Lock()
	defer p.info.mu.Unlock()
	if p.info.told == nil {
		ctx, cancel := context.WithTimeout(ctx, aboutTimeout)
		defer cancel()
		told, err := p.ask(ctx)
		if err != nil {
			return about{}, err
		}
		p.info.told = &told
	}
	return *p.info.told, nil
}

func (p *pool) ask(ctx context.Context) (a about, err error) {
	o, ready := p.warm.Take()
	if !ready {
		if o, err = p.prepare(); err != nil {
			return a, err
		}
		o = p.warm.Mark(o)
	}
	defer func() {
		_ = p.of.host.Shutdown(context.WithoutCancel(ctx), o.ID) // NotFound when it did not start
		p.discard(o)
	}()
	if !ready {
		if _, err := p.of.host.Start(ctx, o); err != nil {
			return a, err
		}
	}
	reply, err := p.kernelInfo(ctx, o.ID)
	if err != nil {
		return a, err
	}
	a = about{
		Runtimes: []runtime{{reply.Language.Name, reply.Language.Version}}, Packages: []packageInfo{},
		Kernel: kernelInfo{reply.Implementation, reply.Version, reply.project(), strings.TrimSpace(reply.Banner)},
	}
	if reply.Language.Name == "python" {
		if a.Packages, err = p.packages(ctx, o.ID); err != nil {
			return a, err
		}
	}
	st, err := p.of.host.Get(o.ID)
	a.enforced = st.Limits
	return a, err
}

// kernelInfoReply has the fields of a kernel_info_reply that are told.
// https://jupyter-client.readthedocs.io/en/stable/messaging.html#kernel-info
type kernelInfoReply struct {
	Implementation string  `json:"implementation"`
	Version        string  `json:"implementation_version"`
	Language       runtime `json:"language_info"`
	Banner         string  `json:"banner"`
	Links          []struct {
		URL string `json:"url"`
	} `json:"help_links"`
}

// project is the project's page, where it is known.
func (r kernelInfoReply) project() string {
	switch r.Implementation {
	case "ipython":
		return "https://github.com/ipython/ipykernel"
	case "bash_kernel":
		return "https://github.com/takluyver/bash_kernel"
	case "IRkernel":
		return "https://irkernel.github.io"
	}
	if len(r.Links) > 0 {
		return r.Links[0].URL
	}
	return ""
}

func (p *pool) kernelInfo(ctx context.Context, id string) (reply kernelInfoReply, err error) {
	session := uuid.NewString()
	c, err := p.of.host.Attach(id, kernel.AttachOptions{ClientSession: session, Transient: true})
	if err != nil {
		return reply, err
	}
	defer c.Detach()
	header := encode(map[string]string{
		"msg_id": uuid.NewString(), "msg_type": "kernel_info_request", "session": session, "username": "nbserv",
		"date": time.Now().UTC().Format(time.RFC3339Nano), "version": "5.4",
	})
	empty := json.RawMessage("{}")
	m, err := kernel.NewMessage(kernel.Shell, [4]json.RawMessage{header, empty, empty, empty}, nil)
	if err != nil {
		return reply, err
	}
	if err := c.Send(m); err != nil {
		return reply, err
	}
	var buf [16]kernel.Entry
	for {
		n, err := c.Next(ctx, buf[:])
		if err != nil {
			return reply, err
		}
		for _, e := range buf[:n] {
			if is(e, "kernel_info_reply") && e.Message.Parent.MsgID == m.Header.MsgID {
				return reply, json.Unmarshal(e.Message.Parts[kernel.PartContent], &reply)
			}
		}
	}
}

// packages asks a Python for its installed packages.
func (p *pool) packages(ctx context.Context, id string) ([]packageInfo, error) {
	const code = `__import__("json").dumps(sorted({d.metadata["Name"]: d.version for d in __import__("importlib.metadata").metadata.distributions()
		if d.metadata["Name"]}.items(), key=lambda p: p[0].lower()))`
	r, err := adapters.Collect(p.of.host.Execute(ctx, id, kernel.ExecuteRequest{Code: strings.ReplaceAll(code, "\n\t\t", " ")}), adapters.Limits{})
	if err != nil {
		return nil, err
	}
	var text string
	var pairs [][2]string
	o := outcomeOf(r, 0)
	if json.Unmarshal(o.Value, &text) != nil || json.Unmarshal([]byte(text), &pairs) != nil {
		return nil, fault.New(fault.Internal, "the kernel does not tell its packages: %s", o.Stderr)
	}
	list := []packageInfo{}
	for _, pair := range pairs {
		list = append(list, packageInfo{pair[0], pair[1]})
	}
	return list, nil
}
