//go:build !linux

package procfs

func listener(root, socket string) int { return 0 }
