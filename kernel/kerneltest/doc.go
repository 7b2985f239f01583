// Package kerneltest is a scripted Jupyter kernel for tests and benchmarks: a real peer on real sockets that
// does what a test asks of it, the impolite things included.
//
// Its nouns: a Kernel binds the five sockets of a connection file (ipc or tcp) and answers; a Request is one
// message it works on; a Script decides the answers. Without a Script the code of an execute_request is read
// as commands, see Commands. A Provisioner runs Kernels in this process in the place of processes; package
// e2e/synthkernel is the same kernel as a program.
//
//	k := kerneltest.Start(t, kerneltest.Options{})
//	// dial k.ConnectionFile(), execute "echo hello"
//
// The transport is a small ZMTP 3.1 server of its own (https://rfc.zeromq.org/spec/37/), so that it is fast,
// and can send what no library would: frames that claim 2^62 bytes, half a greeting, nothing at all.
//
// Goroutines: per socket one that accepts, per connection one that reads and one that writes, per kernel one
// for shell requests, one for control requests and one that ends all others. Close waits for every one.
package kerneltest
