// Package imagestore speaks the Service Fabric ImageStore REST API, 6.0 and later, over package contents: what its
// clients upload are files of the store's folder, by default the notebook root.
//
// dialect.go has the wire's types and rules, translate.go turns ours into them and back, handler.go serves the
// routes. The package keeps nothing: upload sessions are the uploads of a contents.Staging, whose ids are the
// sessions' GUIDs. A file's version is the time of its last change in nanoseconds, which grows with every commit.
//
// It starts no goroutine. Sources: the ImageStore operations of the Service Fabric client API, 6.0 to 8.2.
package imagestore
