// Package frame is the protocol by which a host has the node write a tree of files:
// a channel carries frames between package host/filesync/receiver and package
// agent/receive. Neither end trusts the other's bytes: lengths are bounded, and
// paths stay below the tree's top.
//
// A request is answered when its turn has come, in the order of requests, so
// that many may be on their way. A file's content comes with the request, or was
// brought before, by somebody else, into a directory that the receiver has made for
// that: it is staged there, and then placed as any other is.
//
//	host                      node
//	                          hello THERE or a reason why not
//	put ENTRY EXPECTED        answer ENTRY
//	  data or packed… end     taken BYTES, now and then before the answer
//	remove PATH EXPECTED      answer
//	stage BOOL                stage DIRECTORY
//	place ENTRY EXPECTED FROM answer
//	scan                      entry… problem… end
//	sum PATH                  sum
package frame
