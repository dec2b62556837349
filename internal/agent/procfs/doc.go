// Package procfs finds the processes that can be debugged on a node and reads what
// /proc says of them: unit, command line, threads, sockets, text. What their
// executables say is read by package exe.
//
// It runs as root and trusts nothing that it reads: every file may have been
// written by somebody who wants to crash the reader, so reads are bounded and a
// malformed file is an error. Nothing here stops or traces a process. On other
// systems than Linux everything returns diag.Unsupported.
package procfs
