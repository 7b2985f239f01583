// Package lsp joins pages to language servers: completion, documentation and diagnostics of code that no kernel has run.
//
// It does what the server extension jupyter_lsp does for JupyterLab: GET /lsp/status tells which language servers are
// installed, and a WebSocket at /lsp/ws/{name} talks to one of them. A language server is a child process that speaks
// JSON-RPC over its standard input and output; each WebSocket has a process of its own, which ends with it. Nothing
// runs while no page asks for it.
//
// A process takes two goroutines, one that waits for its end and one of os/exec that reads what it says on stderr, and
// the WebSocket those of package socket.
//
// https://microsoft.github.io/language-server-protocol/specifications/lsp/3.17/specification/ and the schema of
// jupyter_lsp 2, https://jupyterlab-lsp.readthedocs.io.
package lsp
