// Package adapters is what the execution dialects share: an Executor that runs code in sessions, Collect, which
// makes one Result of what an execution said, and a Pool of kernels that are started ahead.
//
// The dialects themselves are the packages below it, each with its wire types in dialect.go, pure functions in
// translate.go and its routes in handler.go. They never import each other.
package adapters
