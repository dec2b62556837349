//go:build !linux

package filesync

// watchRemedy returns "", since no command is known.
func watchRemedy(error) string { return "" }
