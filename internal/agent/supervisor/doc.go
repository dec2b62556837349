// Package supervisor is dapbridge on the node, as root: the process that traces
// nothing. It holds the link to the daemon and the lease, starts the worker
// (package worker, which has Delve inside), hands it the sessions' descriptors, and
// checks and repairs the target once a worker has exited.
package supervisor
