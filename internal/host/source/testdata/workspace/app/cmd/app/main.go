// App is a program that runs code of each kind 20 times a second: of its own
// module, one beside it, one at a version, a replaced one, the standard library.
package main

import (
	"fmt"
	"net/http"
	"time"

	"example.com/app/v2/internal/greet"
	"example.com/lib/deep"
	"golang.org/x/mod/semver"
	"golang.org/x/sync/errgroup"
)

func main() {
	for {
		work()
		time.Sleep(50 * time.Millisecond)
	}
}

//go:noinline
func work() {
	var g errgroup.Group
	g.Go(func() error { return (&http.Server{Addr: "no port"}).ListenAndServe() })
	fmt.Println(greet.Hello(), deep.Name(), semver.Canonical("v1"), g.Wait())
}
