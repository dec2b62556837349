// Package deep is in a module that a directory replaces.
package deep

//go:noinline
func Name() string { return "deep" }
