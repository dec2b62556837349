// Package ledger writes down what a program is about to make on this machine
// before it makes it, so that the same program, or another run of it after a
// crash, can take all of it away again.
//
// A ledger is one file, the things in the order they were made. Undo removes
// them in reverse and never trusts a name alone: a process is ended only when
// its start time is the recorded one, a directory is removed only when nothing
// is mounted below it.
package ledger
