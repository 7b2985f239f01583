// Package rserver speaks the operationalization APIs of Microsoft R Server 9.0.1, and what ML Server added to them up to
// 9.4, over real kernels of R and Python.
//
// Nouns. A runtime is a language, with the kernelspec and the helper for it. The helper (helpers/) is code that runs once in
// each kernel; requests to it and its answers are files, so that one execute request carries parameters in and results
// out, whatever their size. A worker is a kernel that has the helper, and its folder: work is the user's, io the calls'.
// A session is a worker of one person's own. A snapshot is a zip of a working folder and of the workspace's objects. A
// service is code with a snapshot of its own and a pool of workers; each call has one for itself and leaves it as it was.
// A batch is many calls without a client. A Server is all of them.
//
// Files. session.go, console.go, sessions.go: sessions. archive.go, workdir.go: snapshots and working folders. service.go,
// servicepool.go, batch.go: services. values.go: what JSON becomes in a runtime. store.go: rows. operations.go is the
// table of the API, from which the routes and swagger.go's descriptions are made; handler*.go serve it, dialect.go has
// the wire's types.
//
// Goroutines, all started by Server.Run, which waits for them: one for each pool of kernels that are started ahead, one
// that looks after services' pools, and one for each execution of a session, each batch, and each kernel that is being
// started, cleaned or ended for a service. Beside these, one for each pipe that R prints to, which ends with its execution.
//
// Ownership. Everything but services belongs to one person; another's does not exist for anybody else. Accounts' kernels
// are confined (kernel.Sandbox), those of the bearer of the server's token are not.
//
// Sources: the API's reference for 9.0.1, the vendor's descriptions of 9.1 to 9.4, mrsdeploy's documentation, and
// azureml-model-management-sdk 1.0.1.
package rserver
