// Package parts builds what a test node is made of, from other people's
// sources, once: a root file system, containerd in three flavours with its
// shim, a kubelet, the images of its pods. Each part is a directory of a cache,
// named by its version and a hash of its recipe, and is complete or absent.
package parts
