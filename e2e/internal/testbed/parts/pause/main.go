// Pause is the program of every container on a test node: the sandbox of a pod
// and the pod's own. It says what it was started as, then waits, and leaves at
// once when asked to, which a first process must do by itself.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("running", strings.Join(os.Args[1:], " "))
	<-stop
}
