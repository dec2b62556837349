// Package frame is the protocol by which a host makes the node write a tree of files:
// a channel carries frames between package host/filesync/receiver and package
// agent/receive. Neither end trusts the other's bytes: lengths are bounded, and
// paths stay below the tree's top.
//
// Requests are answered in their order, so that the host may send many without waiting
// for an answer. A file's content follows its request, or it was staged: another
// program, such as rsync, has written it to a directory that the receiver made for
// that, and the request moves it to its path.
//
//	host                      node
//	                          hello EXISTS, or an error
//	put ENTRY EXPECTED        answer ENTRY
//	  data or packed… end     received BYTES, repeatedly before the answer
//	remove PATH EXPECTED      answer
//	stage BOOL                stage DIRECTORY
//	place ENTRY EXPECTED FROM answer
//	scan                      entry… problem… end
//	sum PATH                  sum
package frame
