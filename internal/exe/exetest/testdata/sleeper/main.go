// Sleeper is a process to inspect: it writes "ready" and exits when its
// standard input ends. An argument N starts N threads.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		threads, _ := strconv.Atoi(os.Args[1])
		for range threads {
			go thread()
		}
	}
	if len(os.Args) > 2 {
		neverCalled()
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

func thread() {
	runtime.LockOSThread()
	for {
		for range 1000 {
			runtime.Gosched()
		}
		time.Sleep(time.Millisecond)
	}
}

//go:noinline
func neverCalled() {
	for i := range os.Args {
		fmt.Println(i, os.Args[i], len(os.Args[i]))
	}
}
