// Package parts builds the parts of a test node from published sources: a root file
// system, containerd in several flavours with its shim, a kubelet, the images of its
// pods. Each part is a directory in a cache, named by its version and a hash of its
// recipe, and is either complete or absent.
package parts
