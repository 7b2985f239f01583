// Package lab serves an installed JupyterLab and Jupyter Notebook 7: their pages, their files, and the part of the API
// that is about themselves (settings, workspaces, themes, translations, licenses, extensions). It runs no Python: it
// reads the files that pip installed, and keeps what users change where jupyterlab_server keeps it, so that both
// servers may be used with the same folders.
//
// A Lab is what the configuration leads to; an installation is what was found there, looked for anew by every page, so
// that one installed meanwhile is seen; an application is one of its pages with their template and static files.
//
// It starts no goroutines. What it behaves like: jupyterlab_server 2.28, jupyterlab 4.6, notebook 7.6.
// https://jupyterlab-server.readthedocs.io/en/latest/api/rest.html
package lab
