// Sample is a program whose debug information a test compares with what its function table
// gives: it has inlined calls, methods, closures, type parameters, and goroutines that wait.
// It prints "ready" and ends with its standard input.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"syscall"
)

type shape interface{ area() int }

type square struct{ side int }

func (s square) area() int { return multiply(s.side, s.side) }

type stack[T any] struct{ items []T }

func (s *stack[T]) push(item T) { s.items = append(s.items, item) }

func multiply(a, b int) int { return checked(a) * checked(b) }

func checked(n int) int {
	if n < 0 {
		panic(errors.New("negative"))
	}
	return n
}

//go:noinline
func sum(shapes []shape) (total int) {
	defer func() { total++ }()
	for _, s := range shapes {
		total += s.area()
	}
	return total
}

func wait(c chan string) { <-c }

func main() {
	const setPtracer, anyProcess = 0x59616d61, ^uintptr(0)
	syscall.Syscall(syscall.SYS_PRCTL, setPtracer, anyProcess, 0) // where Yama allows tracing to parents only
	c := make(chan string)
	for i := 0; i < 20; i++ { // it is also built by an old Go
		go wait(c)
	}
	var s stack[shape]
	for i := 0; i < 3; i++ {
		s.push(square{i})
	}
	words := strings.Fields("c b a")
	sort.Slice(words, func(i, j int) bool { return words[i] < words[j] })
	fmt.Fprintln(os.Stderr, words, sum(s.items))
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}
