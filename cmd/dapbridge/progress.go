package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	showProgressAfter = time.Second            // a step that is done sooner needs no progress
	redrawEvery       = 100 * time.Millisecond // at most
)

// progress prints the steps of a command, a line each. On a terminal it adds a line
// with the progress of the current step once that has taken a second, redraws it, and
// clears it in the end. Its methods may be called from several goroutines.
type progress struct {
	out      io.Writer
	terminal bool

	mu      sync.Mutex
	started time.Time // of the current step; zero if there is none
	drawn   time.Time // when the progress line was drawn; zero if there is none
}

// step prints that a step starts.
func (p *progress) step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearLine()
	p.started = time.Now()
	fmt.Fprintf(p.out, format+" ...\n", args...)
}

// update shows the progress of the current step, or of one without a line of its own.
func (p *progress) update(format string, args ...any) {
	if !p.terminal {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.started.IsZero() {
		p.started = now
	}
	if now.Sub(p.started) < showProgressAfter || now.Sub(p.drawn) < redrawEvery {
		return
	}
	p.drawn = now
	fmt.Fprintf(p.out, "\r\x1b[K  "+format, args...)
}

// done ends the current step, if there is one.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearLine()
	p.started = time.Time{}
}

// clearLine must be called with mu held.
func (p *progress) clearLine() {
	if !p.drawn.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.drawn = time.Time{}
	}
}

// transfer returns a function that shows an upload as a step.
func (p *progress) transfer(what string) func(done, total int64) {
	var once sync.Once
	return func(done, total int64) {
		once.Do(func() { p.step("%s (%s)", what, formatMegabytes(total)) })
		if done >= total {
			p.done()
			return
		}
		p.update("%s of %s", formatMegabytes(done), formatMegabytes(total))
	}
}

// plural formats a number of things, as "1 file", "2 files" or "2 processes".
func plural(n int, noun string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(noun, "s"):
		noun += "es"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func formatMegabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
