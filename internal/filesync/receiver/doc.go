// Package receiver writes a tree of files on the node, for a host that says what.
// [Serve] is the node's end, [Client] the host's; a channel carries frames
// between them. Neither trusts the other's bytes: lengths are bounded, paths stay
// below the tree's top, and no symbolic link leads out of it.
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
package receiver
