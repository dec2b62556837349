package main

import (
	"io"
	"net"
	"time"
)

// lastWords is how long an IDE may take to read the last of what it was sent.
const lastWords = 5 * time.Second

// stdio returns standard input and output as one connection, which can be closed
// under a read, and a function that returns when all that was written to it is
// out.
func (env environment) stdio() (conn net.Conn, written func()) {
	ours, theirs := net.Pipe()
	go func() {
		io.Copy(theirs, env.in) // may be left behind in a read: the process ends soon
		theirs.Close()
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(env.out, theirs)
	}()
	return ours, func() {
		ours.Close()
		select {
		case <-done:
		case <-time.After(lastWords): // an IDE that does not read
		}
	}
}
