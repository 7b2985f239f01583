// Package kernel runs Jupyter kernels: a process, its five ZeroMQ sockets, its journal and its clients, and the
// Manager of all of them. It implements the client's side of the Jupyter messaging protocol 5.4
// (https://jupyter-client.readthedocs.io/en/stable/messaging.html), kernelspecs and connection files
// (https://jupyter-client.readthedocs.io/en/stable/kernels.html), iopub_welcome (JEP 65) and the passing on of
// subshells (JEP 91), over ZMTP 3 by go-zeromq/zmq4.
//
// Nouns. A Kernel is a lasting identity: id, kernelspec, journal, clients. An incarnation is one process of it
// with one Connection (folder, file, ports) and a Conn, the client end of its sockets. The Journal is all that
// the kernel said, in one order; a Client is a frontend's place in it and its right to send.
//
// Goroutines, and who waits for them:
//
//   - Conn: four readers and three writers, one socket direction each; Close waits. zmq4 adds a reader of its
//     own for each socket, which ends when its connection is closed.
//   - incarnation: watch (from launch to the end of the process: heartbeat, exit, automatic restart) and connect
//     (dialling, greeting, dialling again, and a few that listen for answers to what was asked over earlier
//     connections); the kernel's shutdown waits for both.
//   - Kernel: restore (after Manager.Recover: what its journal says was open); the kernel's shutdown waits.
//   - Manager.Run: the culler, in its caller's goroutine; its shutdowns are waited for when it returns.
//
// Readers deliver into the journal and never wait; clients read from the journal at their own pace. Locks are
// taken in the order Manager, Kernel, Journal and guard maps and counters only.
package kernel
