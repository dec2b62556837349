// This program has C code whose size depends on SHIFT, which the tests' C compilers
// define.
package main

/*
#include <stdio.h>
#include <string.h>

#ifndef SHIFT
#define SHIFT 8
#endif

static char filled[SHIFT] = {1};
static char empty[SHIFT];
static const char text[SHIFT] = "text";

static int work(const char *s) {
	char b[100];
	snprintf(b, sizeof b, "%s%s", s, text);
	int n = filled[SHIFT / 2] + empty[SHIFT / 2];
#if SHIFT > 8
	for (char *c = b; *c; c++)
		n += *c * SHIFT;
#endif
	return n + strlen(b);
}
*/
import "C"

import "os"

type request struct {
	id   int
	name string
	next *request
}

type doer interface{ do(n int) int }

func (r *request) do(n int) int { return r.id + n }

var (
	counter  int
	other    int
	table    = map[string]doer{"a": &request{id: 1}, "b": &request{id: 2}}
	last     *request
	defaults = [...]string{"one", "two", "three"}
)

//go:noinline
func handle(r *request) int {
	counter++
	other--
	last = r
	n := 0
	for _, d := range table {
		n += d.do(r.id)
	}
	return n + len(defaults[r.id%3])
}

func main() {
	r := &request{id: len(os.Args), name: "x"}
	n := C.work(C.CString(r.name))
	println(handle(r), int(n), twice(r.id), counter)
}

func inner(n int) int { return n + 1 }

//go:noinline
func twice(n int) int { return inner(n) * 2 }
