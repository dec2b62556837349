// Package greet is in the main module.
package greet

//go:noinline
func Hello() string { return "hello" }
