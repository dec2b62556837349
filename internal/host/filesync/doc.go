// Package filesync keeps a copy of a host's tree on a node: it knows what of the
// tree is copied ([Ignore]), what is there ([Scan]) and what changes ([Watcher]).
package filesync
