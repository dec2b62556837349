//go:build !linux

package target

func listener(string) int { return 0 }
