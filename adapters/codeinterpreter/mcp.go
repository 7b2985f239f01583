package codeinterpreter

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/gorilla/mux"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// maxToolBody bounds a request to the tools, in bytes.
const maxToolBody = defaultMaxBody

// newTools serves the tools of a pool by the Model Context Protocol, streamable HTTP. No session of that protocol is
// kept: an environment is named in each call. Clients that ask for events get them; all others, curl too, get JSON.
func newTools(p *pool) http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "nbserv-" + p.Name, Title: "nbserv code interpreter, pool " + p.Name, Version: "1"}, &mcp.ServerOptions{
		Instructions: "Launch an environment, then run code in it by its environmentId. Variables and files in " + mount +
			" stay until the environment has not been used for " + p.CoolDown.String() + ".",
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	})
	p.addTools(server)
	get := func(*http.Request) *mcp.Server { return server }
	// Host and Origin were checked for all of the server.
	options := mcp.StreamableHTTPOptions{
		Stateless: true, DisableLocalhostProtection: true, MaxRequestBodyBytes: maxToolBody, PropagateRequestCancellation: true,
	}
	streaming := mcp.NewStreamableHTTPHandler(get, &options)
	plain := options
	plain.JSONResponse = true
	whole := mcp.NewStreamableHTTPHandler(get, &plain)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(strings.ToLower(r.Header.Get("Accept")), "text/event-stream") {
			streaming.ServeHTTP(w, r)
			return
		}
		r.Header.Set("Accept", "application/json, text/event-stream") // it takes what there is
		whole.ServeHTTP(w, r)
	})
}

func (a *API) serveTools(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["pool"]
	if name == "" {
		name = a.DefaultPool
	}
	p, err := a.Interpreter.pool(name)
	if err == nil {
		err = p.usable()
	}
	if err == nil && r.Method == http.MethodPost {
		r, err = completed(w, r)
	}
	if err != nil {
		WriteError(w, r, err)
		return
	}
	a.tools[name].ServeHTTP(w, r)
}

// completed gives an initialize without params some, as the vendor's own examples send it.
func completed(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	body, err := httpx.ReadBody(w, r, maxToolBody)
	if err != nil {
		return r, err
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(body, &m) == nil && string(m["method"]) == `"initialize"` && m["params"] == nil {
		m["params"] = json.RawMessage(`{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"unknown","version":"0"}}`)
		body = encode(m)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return r, nil
}

type (
	launched struct {
		EnvironmentID string `json:"environmentId" jsonschema:"the name of the environment for the other tools"`
	}
	nothingAsked struct{}
	pythonArgs   struct {
		EnvironmentID string `json:"environmentId" jsonschema:"of launchPythonEnvironment or launchShell"`
		PythonCode    string `json:"pythonCode" jsonschema:"the code; the value of its last expression is the result"`
		Timeout       int64  `json:"timeoutInSeconds,omitempty" jsonschema:"after which the code is interrupted"`
	}
	shellArgs struct {
		EnvironmentID string   `json:"environmentId" jsonschema:"of launchShell"`
		ShellCommand  string   `json:"shellCommand,omitempty" jsonschema:"a command of bash"`
		Words         []string `json:"execCommandAndArgs,omitempty" jsonschema:"a program and its arguments, in place of shellCommand"`
		Stdin         *string  `json:"stdin,omitempty" jsonschema:"what the command reads"`
		Timeout       int64    `json:"timeoutInSeconds,omitempty" jsonschema:"after which the command is interrupted"`
	}
	ran struct {
		Status       string `json:"status" jsonschema:"Succeeded, Failed or Canceled; of a shell command its exit code"`
		Stdout       string `json:"stdout"`
		Stderr       string `json:"stderr"`
		Result       any    `json:"result,omitempty" jsonschema:"the value of the code"`
		Milliseconds int64  `json:"executionTimeInMilliseconds"`
	}
)

func (p *pool) addTools(s *mcp.Server) {
	mcp.AddTool(s, &mcp.Tool{Name: "launchShell", Description: "Launch a new environment in which shell commands run. Returns its environmentId."}, p.launch)
	mcp.AddTool(s, &mcp.Tool{
		Name: "runShellCommandInRemoteEnvironment", Description: "Run a shell command in an environment. Returns stdout, stderr and the exit code.",
	}, p.runShell)
	if p.Shell {
		return
	}
	mcp.AddTool(s, &mcp.Tool{
		Name: "launchPythonEnvironment", Description: "Launch a new environment in which Python code runs. Returns its environmentId.",
	}, p.launch)
	mcp.AddTool(s, &mcp.Tool{
		Name:        "runPythonCodeInRemoteEnvironment",
		Description: "Run Python code in an environment. Returns stdout, stderr, the value of the last expression, and pictures that were drawn.",
	}, p.runPython)
}

func (p *pool) launch(ctx context.Context, _ *mcp.CallToolRequest, _ nothingAsked) (*mcp.CallToolResult, launched, error) {
	s, err := p.session(ctx, uuid.NewString())
	if err != nil {
		return nil, launched{}, toolError(err)
	}
	return nil, launched{s.identifier}, nil
}

func (p *pool) runPython(ctx context.Context, _ *mcp.CallToolRequest, a pythonArgs) (*mcp.CallToolResult, ran, error) {
	return p.runTool(ctx, a.EnvironmentID, executeProperties{PythonCode: &a.PythonCode}, a.Timeout)
}

func (p *pool) runShell(ctx context.Context, _ *mcp.CallToolRequest, a shellArgs) (*mcp.CallToolResult, ran, error) {
	b := executeProperties{Stdin: a.Stdin, ExecCommandAndArgs: a.Words}
	if a.ShellCommand != "" || a.Words == nil {
		b.ShellCommand = &a.ShellCommand
	}
	return p.runTool(ctx, a.EnvironmentID, b, a.Timeout)
}

// runTool runs code in an environment that was launched.
func (p *pool) runTool(ctx context.Context, environment string, b executeProperties, timeout int64) (*mcp.CallToolResult, ran, error) {
	if timeout != 0 {
		b.TimeoutInSeconds = &timeout
	}
	req, err := requestOf(executeBody{executeProperties: b}, p.PoolConfig)
	if err != nil {
		return nil, ran{}, toolError(err)
	}
	s, err := p.find(environment)
	if err != nil || !s.use() {
		return nil, ran{}, fmt.Errorf("there is no environment %q: it was never launched, or has not been used for %v", environment, p.CoolDown)
	}
	e, err := s.submit(ctx, "", req)
	if err != nil {
		return nil, ran{}, toolError(err)
	}
	if err := e.wait(ctx); err != nil {
		s.cancel(e) // the protocol has no way to ask for it later
		return nil, ran{}, toolError(err)
	}
	snap, err := e.snapshot(ctx)
	if err != nil {
		return nil, ran{}, toolError(err)
	}
	return toolAnswer(snap)
}

// toolError is what a model reads of an error.
func toolError(err error) error { return errors.New(fault.Message(err)) }

// toolAnswer is an execution as a model reads it: text, then pictures, and the same as one structure.
func toolAnswer(s snapshot) (*mcp.CallToolResult, ran, error) {
	r := s.resource()
	out := ran{Status: r.Status, Stdout: r.Result.Stdout, Stderr: r.Result.Stderr, Milliseconds: r.Result.Milliseconds}
	o := s.outcome
	switch {
	case s.request.Shell:
	case o.Value != nil:
		out.Result = o.Value
	case o.Text != nil:
		out.Result = *o.Text
	}
	answer := &mcp.CallToolResult{
		Content: []mcp.Content{&mcp.TextContent{Text: string(encode(out))}},
		IsError: o.State != succeeded && !s.request.Shell,
	}
	for _, p := range o.pictures() {
		answer.Content = append(answer.Content, p)
	}
	return answer, out, nil
}

// pictures are all that were shown, in their order.
func (o *outcome) pictures() (all []*mcp.ImageContent) {
	for _, out := range o.Outputs {
		p := pictureOf(out.Data)
		if p == nil {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(p.Base64)
		if err != nil {
			continue // a kernel's own mistake
		}
		kind := p.Format
		if kind == "svg" {
			kind = "svg+xml"
		}
		all = append(all, &mcp.ImageContent{Data: data, MIMEType: "image/" + kind})
	}
	return all
}
