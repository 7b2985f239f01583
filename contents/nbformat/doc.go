// Package nbformat reads, checks and writes Jupyter notebooks without losing a byte that has a meaning:
// numbers keep their literals, unknown fields stay, strings keep their characters.
//
// A notebook on the disk is as the nbformat library writes it (indented by one space, keys sorted, text as it
// is, multi-line strings split into lines); to clients it goes with the lines joined. Both are walks over one
// tree of slices of the bytes that were read. The package is pure: no files, no clock, no goroutines.
//
// Sources: nbformat 4.0 to 4.5, and the rules by which nbformat 2 and 3 become 4.
package nbformat
