// Package nbconvert turns notebooks into other formats with the nbconvert of the kernels' Python, which runs as a child
// process for each conversion: nothing of it stays, and what it does to itself it does to nobody else.
//
// /nbconvert/{format}/{path}, /nbconvert/{format} and /api/nbconvert, as of jupyter_server 2.
//
// The package starts no goroutines other than os/exec's, which end with the child.
package nbconvert
