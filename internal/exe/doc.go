// Package exe reads what a Go executable says about itself: how it was built, the
// source files and lines it was compiled from, its functions, and a fingerprint by
// which two files can be recognised as the same program. All of it is in [File].
//
// Executables are not trusted. Reads are bounded, and a malformed file is an error,
// even where debug/elf panics.
package exe
