// Package receive is the node's end of copying source: it writes a tree of files
// as the host asks, in the frames of package api/frame, whose documentation has the
// protocol. It trusts neither the host's bytes nor what is on the node: paths stay
// below the tree's top, and no symbolic link leads out of it.
package receive
