// Package configsection keeps what frontends remember about themselves: one JSON object per named section, in
// files that jupyter_server reads and writes too. It starts no goroutines.
//
// /api/config/{section}: https://jupyter-server.readthedocs.io/en/latest/developers/rest-api.html
package configsection
