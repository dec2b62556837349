// Kinds is a program with a variable of every kind, for a debugger. Its source is for Go
// 1.18 and later.
package main

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

type inner struct {
	Name string
	N    int
}

type numberer interface{ number() int }

func (i inner) number() int { return i.N }

func identity[T any](v T) T { return v }

//go:noinline
func answer(question int) int { return 42 * question }

func work(n int, text string, list []int, table map[string]int, p *inner, i numberer, err error, queue chan int, f func(int) int) int {
	array := [3]int{1, 2, 3}
	any := interface{}(inner{"x", 5})
	total := f(n) + i.number() // stop
	total += array[1]
	identity(any)
	return total + table[text] + len(list) + p.N + len(queue) + len(err.Error())
}

func main() {
	const setPtracer, anyProcess = 0x59616d61, ^uintptr(0)
	syscall.RawSyscall(syscall.SYS_PRCTL, setPtracer, anyProcess, 0)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(answer(0))
	}()
	queue := make(chan int, 3)
	queue <- 7
	for {
		work(10, "hello", []int{1, 2, 3}, map[string]int{"a": 1, "b": 2}, &inner{"p", 9}, inner{"i", 4}, errors.New("bad"), queue, func(y int) int { return 2 * y })
		time.Sleep(20 * time.Millisecond)
		os.Stdout.WriteString("beat 1\n")
	}
}
