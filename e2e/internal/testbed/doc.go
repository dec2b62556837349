// Package testbed boots test nodes. They resemble those of minikube's docker driver,
// with systemd, sshd, sudo, rsync, containerd, runc and a kubelet, but need no docker,
// image registry or API server. A node is a systemd-nspawn container in its own network
// namespace. From outside it looks like minikube's: an address, an SSH port, and a
// profile in a MINIKUBE_HOME.
//
//	node, err := testbed.Up(ctx, testbed.Options{Owner: 1000, Log: os.Stderr})
//	...
//	defer node.Down()
//	err = node.RunPod(ctx, "hello")
//
// Nodes need Linux, root and a Go toolchain. The first one takes about eight minutes,
// in which its parts are built; a cache keeps them. Everything that a node creates on
// this machine is recorded in a ledger beforehand, so that Down can remove it even
// after a crash.
package testbed
