// Package filesync keeps a copy of a directory tree of the host on a node: [Ignore]
// decides what is copied, [Scan] lists the tree, [Watcher] reports changes to it, and
// [Mirror] makes the copy equal.
package filesync
