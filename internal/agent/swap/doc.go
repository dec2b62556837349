// Package swap replaces the executable that a systemd service runs by another build,
// and puts the original back. It runs on the node as root, as a command of its own
// (dapbridge agent swap), so that it completes what it has begun even without the
// host.
//
// Every change is recorded before it is made (record): whatever interrupts a run,
// Restore finds the original and knows what to undo. No run relies on the last one
// having completed; it first deals with what that has left.
package swap
