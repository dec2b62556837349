// Package receiver is the host's end of copying source: [Client] asks the node's
// receiver (package agent/receive) to list, write and remove files, in the frames of
// package api/frame. It does not trust the node's answers.
package receiver
