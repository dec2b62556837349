package main

import (
	"io"
	"net"
	"time"
)

// flushTimeout is how long an IDE may take to read the last output.
const flushTimeout = 5 * time.Second

// stdio returns standard input and output as one connection, whose Close ends a
// pending Read, and a function that closes it once everything written to it has been
// read.
func (env environment) stdio() (conn net.Conn, flush func()) {
	ours, theirs := net.Pipe()
	go func() {
		io.Copy(theirs, env.in) // may stay blocked in a read until the process ends
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
		case <-time.After(flushTimeout): // the IDE does not read
		}
	}
}
