// Package overlay keeps what cells print while no page shows it.
//
// A page that runs a cell forgets the request when it is closed or reloaded; the kernel goes on. JupyterLab's
// execute_request names its cell (metadata cellId), and a session names the kernel's notebook, so a Keeper can make
// the cell's outputs of the kernel's journal: an overlay on the notebook. It is part of every read of the notebook
// through contents, it is put into a save whose page does not know it yet, and it is written into the file once
// the execution has ended and no page has the notebook open.
//
// # Nouns
//
// An execution is one execute_request and what came of it. A book is what is known of one kernel: its executions
// that may have to be kept, its pages (client sessions), and the place up to which its journal was read. A place is
// where in which notebook an execution's cell is.
//
// # Reading the journal
//
// A kernel whose pages are all there is not looked at. When a page that had run something has gone (Departed grew),
// or a notebook is read or saved while its kernel works, the Keeper follows the kernel: an observer reads the journal
// on from where it was read last, and for as long as there is something to keep. What is kept is in the database
// with the place in the journal it was made up to, so that after a restart of the server the journal is read on from
// there; what the journal cannot tell (what was read and saved, cleared by hand, renamed) is nowhere else.
//
// # Goroutines
//
// Run has one that hears of kernels (Host.Watch), one that puts things away now and then, and one for each kernel
// that is followed; it returns when all have ended.
//
// Specifications: the messaging protocol (https://jupyter-client.readthedocs.io/en/stable/messaging.html), nbformat
// 4.5, and JupyterLab 4.6 (cells, outputarea, docregistry) for what a page shows and saves.
package overlay
