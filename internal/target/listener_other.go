//go:build !linux

package target

func listener(root, socket string) int { return 0 }
