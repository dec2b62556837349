//go:build linux

// Package functable makes debug information for a Go program that has none, out of what
// every Go program must carry: its function table, from which the runtime itself prints
// tracebacks, and the descriptions of the runtime's types. That gives a debugger files and
// lines, functions, inlined calls, the layout of frames, and the goroutines, but neither
// variables nor types.
//
// All of it is read from the running process, whose executable is not trusted: whatever is
// malformed is an error.
package functable

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Result says what the debug information holds.
type Result struct {
	Functions int
	// NoGoroutines says why goroutines are missing, "" if they are not.
	NoGoroutines string
}

// Write writes an ELF file with the debug information of a process that runs the given
// version of Go, such as "go1.26.8". The process is neither stopped nor changed. The file
// is complete only if the error is nil.
func Write(w io.Writer, pid int, goVersion string) (Result, error) {
	m, err := openImage(pid)
	if err != nil {
		return Result{}, err
	}
	file, r, err := m.debugInfo(goVersion)
	if err == nil {
		_, err = w.Write(file)
	}
	return r, errors.Join(err, m.close())
}

// debugInfo returns an ELF file with debug information. Nothing else recovers from what a
// malformed executable causes.
func (m *image) debugInfo(goVersion string) (file []byte, r Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed executable: %v", p)
		}
	}()
	t, err := findTable(m)
	if err != nil {
		return nil, r, err
	}
	d := newDebugInfo(t, "Go cmd/compile "+goVersion+"; regabi")
	goroutines, missing := t.findGoroutines()
	if missing != nil {
		r.NoGoroutines = missing.Error()
	} else {
		d.addGoroutines(goroutines)
	}
	for i := range t.count {
		if f := t.function(i); !isDebugCall(f.name) {
			d.addFunction(&f)
			r.Functions++
		}
	}
	return d.file(), r, nil
}

// isDebugCall reports whether a function serves injected calls (runtime/debugcall.go). A
// debugger must not know it: without the types of parameters, it would call functions with
// the wrong ones.
func isDebugCall(name string) bool { return strings.HasPrefix(name, "runtime.debugCall") }
