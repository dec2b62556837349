// Busy is a program to debug: several goroutines call the same function all the
// time, one is slow, and a heartbeat on standard output shows that it is alive.
// It exits when its standard input ends.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

func main() {
	allowTracing()
	for worker := range 3 {
		go work(worker)
	}
	go func() {
		for {
			slow()
		}
	}()
	go func() {
		for beat := 0; ; beat++ {
			fmt.Println("beat", beat)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		switch commands.Text() {
		case "threads":
			go threads()
		case "panic":
			go func() { panic("as it was told") }()
		case "answer":
			fmt.Println("answer", answer(1)) // and so the linker keeps it
		}
	}
}

// allowTracing lets any process of the same user trace this one, where Yama
// allows it to parents only (prctl(2), PR_SET_PTRACER).
func allowTracing() {
	const setPtracer, anyProcess = 0x59616d61, ^uintptr(0)
	syscall.Syscall(syscall.SYS_PRCTL, setPtracer, anyProcess, 0)
}

// threads makes a thread every now and then, which soon ends.
func threads() {
	for {
		go func() {
			runtime.LockOSThread() // and ends with the goroutine
			hot(0, 0)
			time.Sleep(5 * time.Millisecond)
			hot(0, 0)
		}()
		time.Sleep(time.Millisecond)
	}
}

func work(worker int) {
	for i := 0; ; i++ {
		hot(worker, i)
		time.Sleep(50 * time.Microsecond)
	}
}

//go:noinline
func hot(worker, i int) int {
	sum := worker + i // hot
	return sum
}

func slow() {
	begin := time.Now()                     // slow: before
	time.Sleep(time.Second)                 // slow: asleep
	fmt.Println("slept", time.Since(begin)) // slow: after
}

// answer is called by the debugger alone.
func answer(question int) int {
	result := 42 * question // answer
	return result
}
