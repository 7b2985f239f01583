// Package remote lets kernels outlive the server: a Server, in the process that has the kernels (the kernel host),
// offers a kernel.Host on a unix socket, and a Host, in the notebook server, is a kernel.Host by means of it.
//
// Protocol, version 1. Calls are HTTP with JSON. Two requests turn their connection into a stream of frames (a length
// of 4 bytes, a kind, a payload; see frame.go): /v1/watch, by which a Host knows all kernels, so that Get and List ask
// nobody, and /v1/client, one for each attached client. A client's stream carries the journal's entries one way and
// messages the other, and says back what was delivered: the kernel host sends at most windowBytes beyond that, so a slow
// reader lags behind in the journal, and neither side holds more for it. What a server had not confirmed when it ended
// is given again to the same client session.
//
// A Host that loses its kernel host answers Busy, finds or starts another one, and its clients read on from where they
// were.
//
// Goroutines, and who waits for them:
//
//   - Server: one that accepts; for each connection net/http's, and for each client's stream one more, which writes.
//     Close ends all and waits.
//   - Host.Run, in its caller's goroutine, keeps the connection. A client reads in the goroutine that calls Next; a
//     flusher runs only while the kernel host takes less than is sent, and Detach waits for it.
package remote
