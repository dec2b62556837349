//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "error: a test node needs Linux namespaces: run testnode on Linux")
	os.Exit(1)
}
