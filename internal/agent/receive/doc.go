// Package receive is the node's end of a sync: it writes a tree of files as the host
// requests in the frames of package api/frame, where the protocol is documented. It
// trusts neither the host's bytes nor the node's files: paths stay below the tree's
// top, and no symbolic link leads out of it.
package receive
