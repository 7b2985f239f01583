// Package contents serves the files of one root directory: listings, text and binary files, notebooks,
// checkpoints and uploads in parts, over Jupyter's /api/contents, /files and /view.
//
// Its nouns:
//
//   - Path: an API path that ParsePath has found safe. Nothing below the handlers takes a plain string.
//   - Dir: the files below the root. It is opened by os.Root, or by an opener that follows symbolic links
//     out of the root, as users of Jupyter expect.
//   - draft: a file on its way. It has no name until it is whole; then it replaces its target at once.
//   - Staging: parts of files that are not complete yet, in any order, kept over a restart.
//   - API: the HTTP surface.
//
// Bodies are streamed: the content of a PUT is decoded from the socket into the draft, a GET is encoded from
// the file into the socket. Only notebooks are held in memory, as the bytes of the file and slices of them.
//
// Goroutines: a listing of many entries uses a second one and waits for it; Run, started by cmd, sweeps
// abandoned uploads until its context ends. Everything is safe for concurrent use.
//
// Sources: the Jupyter contents service (jupyter_server 2.21), nbformat 4.0 to 4.5, the freedesktop.org trash
// specification 1.0, RFC 9110 (ranges, conditional requests), RFC 6266 (Content-Disposition).
package contents
