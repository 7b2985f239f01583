// Package terminals runs shells in pseudo terminals for Jupyter's /api/terminals and /terminals/websocket/{name}.
//
// A Terminal is a process with a pseudo terminal, what it last printed, and its viewers. Several pages may look at one
// terminal: all may type, and it has the size of the smallest. What was printed stays for whoever looks later. While
// viewers keep up, a terminal prints no faster than they take it, as a real one does; a viewer that stands still is
// left behind and told so. Without viewers it prints on.
//
// Goroutines: each Terminal has one that reads its pseudo terminal and one that waits for its process; Delete and
// Close wait for both. Each WebSocket is served in its handler's goroutine (see internal/socket). The culler is
// Manager.Run, in its caller's goroutine. Locks are taken in the order Manager, Terminal.
//
// The messages on the WebSocket are terminado's: JSON arrays, ["setup", {}], ["stdout", text] and ["disconnect", 1]
// from the server, ["stdin", text] and ["set_size", rows, columns] from the client.
// REST: https://github.com/jupyter-server/jupyter_server_terminals (rest-api.yml).
package terminals
