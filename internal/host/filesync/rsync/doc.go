// Package rsync brings the content of files to a node by rsync, the real one on
// both sides, over a connection that stands already. What the node holds of them is
// not sent again.
//
// The host's rsync wants a remote shell (rsync(1), -e), which is this program, by
// the name of `dapbridge rsh` ([RunShell]). It has inherited a socket from rsync, and
// passes rsync's words and bytes on to [Transfer.Send] at the other end, which runs
// nothing but the one command that it expects.
package rsync
