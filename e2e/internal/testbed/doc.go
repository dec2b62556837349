// Package testbed boots test nodes: machines such as minikube's docker driver
// makes, of systemd, sshd, sudo, rsync, containerd, runc and a kubelet, without
// docker, an image registry or an API server. A node is a systemd-nspawn
// container in a network namespace of its own and looks, from outside, like
// minikube's: an address, an SSH port, a profile in a MINIKUBE_HOME.
//
//	node, err := testbed.Up(ctx, testbed.Options{Owner: 1000, Log: os.Stderr})
//	...
//	defer node.Down()
//	err = node.RunPod(ctx, "hello")
//
// Nodes need Linux, root, a Go toolchain and, the first time, about eight
// minutes to build their parts, which are kept in a cache. What a node consists
// of on this machine is written to a ledger before it is made, so that Down
// finds it again after a crash.
package testbed
