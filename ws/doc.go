// Package ws serves /api/kernels/{id}/channels: it joins one WebSocket to one kernel.Client.
//
// Its nouns: a Server takes the requests and owns the Bridges; a Bridge is one WebSocket and one client of a
// kernel; a codec is one of the two WebSocket protocols of Jupyter, the subprotocol
// v1.kernel.websocket.jupyter.org and the older default one (JSON text, binary when there are buffers).
//
// Goroutines: each Bridge has two, the handler's own, which reads, and one that writes; Server.Close waits
// for both. There is none for pings: the reader's wait for the next byte is also the clock for them.
//
// The bytes of a message are copied at most once on their way (small pieces into a shared buffer), no JSON is
// marshalled again, and the frames of a burst leave in few writes. gorilla/websocket does the handshake and
// reads frames; everything that is written after the handshake is written here.
//
// Specifications: RFC 6455;
// https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
package ws
