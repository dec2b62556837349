// Package supervisor is the dapbridge process on the node that traces nothing. It runs
// as root, holds the link to the daemon and the lease, starts the worker (package
// worker, which contains Delve), passes it the sessions' descriptors, and checks and
// repairs the target after a worker has exited.
package supervisor
