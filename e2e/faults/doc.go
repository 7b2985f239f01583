// Package faults breaks a running nbserv on purpose (its server, its kernel host, its kernels, its files) while clients
// use it, and checks what they saw against the promises. `make test` runs a short form, `make soak` a long one.
package faults
