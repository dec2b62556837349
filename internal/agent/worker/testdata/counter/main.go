// Counter is a target for tests: it calls a function now and then.
package main

import "time"

func main() {
	for n := 0; ; n = count(n) {
		time.Sleep(time.Millisecond)
	}
}

func count(n int) int {
	next := n + 1
	return next
}
