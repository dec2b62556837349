// Cgo is a program with C in it.
package main

// static int next(int x) { return x + 1; }
import "C"

import "fmt"

func main() {
	fmt.Println("ready", C.next(1))
}
