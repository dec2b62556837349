// Package rsync uploads the content of files to a node with the real rsync on both
// sides, over an existing connection. What the node has of them is not sent again.
//
// The host's rsync starts its remote shell (rsync(1), -e), which is this program under
// the name of `dapbridge rsh` ([RunShell]). It inherits a socket from rsync, over which
// it relays rsync's command and data to [Transfer.Send] at the other end; that runs
// nothing but the one command it expects.
package rsync
