// Package rsync uploads the content of files to a node with the real rsync on both sides,
// over an existing connection. Only what differs from the node's files is sent.
//
// The host's rsync starts its remote shell (rsync(1), -e), which is this program, run as
// `dapbridge rsh` ([RunShell]). It inherits a socket from rsync, over which it relays
// rsync's command and data to [Transfer.Send] at the other end, which runs nothing but
// the one command that it expects.
package rsync
