// Package sessions binds documents to kernels: Jupyter's /api/sessions.
//
// A Session is a path, a name and a type bound to a kernel of a kernel.Host. Its identity is its path, or its
// name where it was made without a path: a Manager answers every create of one identity with the same
// session and the same kernel, however many arrive at once, and starts one kernel for them. Two notebooks of
// one name in two folders are two sessions.
//
// # State
//
// The Manager's index in memory is what all reads see; a Store holds the same rows on disk and is written
// before a change is answered. A kernel that was shut down or culled takes its sessions with it. A row that
// a new server finds without its kernel, or with one that is lost, stays, with a dead kernel and the reason, until
// somebody deletes it or creates its identity again: that gives the same session a fresh kernel.
//
// # Order
//
// What changes a session holds the lock of its path (a rename: of both paths, in the order of their text),
// in the order of arrival. Creates of one path that find one of them already waiting share its outcome. A
// delete that has begun is finished before a create that comes after it answers.
//
// The package starts no goroutine. A change that has begun is finished when its client goes away, so that
// no half of it stays behind; the Host bounds the time.
//
// Specifications: the sessions API of Jupyter's REST description
// (https://jupyter-server.readthedocs.io/en/latest/developers/rest-api.html) as jupyter_server 2.21 serves it
// and JupyterLab 4.6 asks for it.
package sessions
