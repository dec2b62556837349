// Standin is an agent for tests: it prints a hello line, then echoes its input.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		fmt.Println("standin")
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "fail" {
		fmt.Fprintln(os.Stderr, "cannot go on")
		os.Exit(3)
	}
	fmt.Printf("hello %d %q\n", os.Getuid(), os.Args[1:])
	_, _ = io.Copy(os.Stdout, os.Stdin)
	fmt.Fprintln(os.Stderr, "bye")
}
