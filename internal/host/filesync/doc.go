// Package filesync keeps a copy of a directory tree of the host on a node: it knows
// what is copied ([Ignore]), what the tree holds ([Scan]), what changes in it
// ([Watcher]), and makes the copy equal ([Mirror]).
package filesync
