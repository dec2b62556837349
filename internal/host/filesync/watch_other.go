//go:build !linux

package filesync

// watchRemedy returns "": no command is known.
func watchRemedy(error) string { return "" }
