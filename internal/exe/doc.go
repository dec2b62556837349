// Package exe reads what a Go executable says of itself: how it was built, the
// source files and lines it was compiled from, its functions, and a fingerprint
// that tells whether two files are the same program. [File] is all of it.
//
// Executables are not trusted. Reads are bounded, and a malformed file is an
// error, also where debug/elf panics.
package exe
