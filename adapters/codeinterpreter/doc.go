// Package codeinterpreter speaks the code interpreter API of Azure Container Apps dynamic sessions, 2024-02-02-preview
// to 2025-10-02-preview, and the Model Context Protocol, over sessions and kernels of this server.
//
// Nouns. A pool is a kernelspec with limits; its sessions are alike. A session is what an identifier of a pool names: a
// folder, which its code sees as /mnt/data, and a kernel that is confined to it. An execution is one piece of code in a
// session, under an id that a client may choose; its outcome is kept for a while, so that a repeated request is
// answered and not run again. An Interpreter is all pools of one server.
//
// Files. config.go, pool.go and metrics.go: pools. session.go, folder.go: sessions; line.go: the client of a session that stays
// attached between executions, of which execution.go, run.go and resume.go are.
// store.go: what survives the server. dialect.go has the wire's types, translate.go turns ours into them, handler*.go
// serve the routes, stream.go the executions as events, mcp.go the tools.
//
// Goroutines, all started by Interpreter.Run, which waits for them: one for each adapters.Pool, one that ends sessions
// which nobody uses, and for each session one while it has executions.
//
// Sources: the dynamic sessions API as its vendor describes it, up to 2025-10-02-preview; its clients
// langchain-azure-dynamic-sessions 1.0, semantic-kernel 1.45, AutoGen 0.7, LlamaIndex 0.13; the Model Context Protocol.
package codeinterpreter
