//go:build !linux

package filesync

// watchRemedy says what to do when a directory can't be watched.
func watchRemedy(error) string { return "" }
