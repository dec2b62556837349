// Package procfs finds the processes on a node that can be debugged, and reads what
// /proc says about them: unit, command line, threads, sockets, text. Package exe reads
// their executables.
//
// It runs as root and does not trust what it reads: any file may be crafted to crash
// the reader, so reads are bounded and a malformed file is an error. Nothing here
// stops or traces a process. On systems other than Linux everything fails with
// diag.Unsupported.
package procfs
