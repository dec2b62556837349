// Package swap puts another build of a target in the place of the one that a
// systemd service runs, and takes it back. It runs on the node as root, as a
// command of its own (dapbridge agent swap), so that what was begun there comes
// to its end without the host.
//
// What it did is written down before it is done (record): whatever interrupts
// it, Restore finds the original and what to undo. Nothing here trusts that the
// last run came to its end; what such a run left is looked for first.
package swap
