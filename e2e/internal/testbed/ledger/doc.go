// Package ledger records what a program is about to create on this machine, so that the
// same program, or another run of it after a crash, can remove everything again.
//
// A ledger is a file that lists things in the order of their creation. Undo removes
// them in reverse. It does not trust names alone: it kills a process only if its start
// time is the recorded one, and removes a directory only if nothing is mounted below
// it.
package ledger
