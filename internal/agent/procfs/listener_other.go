//go:build !linux

package procfs

func findSocketOwner(root, socket string) int { return 0 }
