//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRunReportsErrors(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	for args, want := range map[string]string{
		"ls extra":            "unknown command",
		"up --output yaml":    "want text or json",
		"pod":                 "accepts 1 arg",
		"pod one":             "node minikube: no such node is running",
		"ssh --name other":    "node other: no such node is running",
		"proxy":               "no such node is running",
		"up --containerd new": `want one of ["make" "static"`,
		"up --name Capital":   "want at most 32 of a-z",
	} {
		var out, errs bytes.Buffer
		status := run(t.Context(), append(strings.Fields(args), "--state", state), streams{nil, &out, &errs})
		if status != 1 {
			t.Errorf("%s: exit status %d, want 1", args, status)
		}
		if got := errs.String(); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, want) {
			t.Errorf("%s: printed %q, want an error with %q", args, got, want)
		}
	}
}

func TestListWithoutNodes(t *testing.T) {
	var out bytes.Buffer
	status := run(t.Context(), []string{"ls", "--state", t.TempDir()}, streams{nil, &out, io.Discard})
	if status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d lines, want only the header:\n%s", got, &out)
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	root := newRoot(streams{nil, io.Discard, io.Discard})
	for _, c := range append(root.Commands(), root) {
		if c.Example == "" {
			t.Errorf("testnode %s: no example", c.Name())
		}
		if c.Short == "" {
			t.Errorf("testnode %s: no summary", c.Name())
		}
	}
}

// TestProxyCommands controls the proxy through its input and its socket.
func TestProxyCommands(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	socket := filepath.Join(t.TempDir(), "control")
	in, commands := io.Pipe()
	answers, out := io.Pipe()
	status := make(chan int)
	go func() {
		args := []string{"proxy", "--target", target.Addr().String(), "--control", socket}
		status <- run(context.Background(), args, streams{in, out, io.Discard})
	}()
	read := lineReader(answers)
	if got := read(); !strings.HasSuffix(got, " -> "+target.Addr().String()) {
		t.Errorf("printed %q, want its address and the target's", got)
	}
	for command, want := range map[string]string{
		"delay 20ms": "ok", "delay 0": "ok", "rate 5": "ok", "stall": "ok", "resume": "ok",
		"cut": "ok", "cutnew on": "ok", "cutnew off": "ok",
		"cutnew": "error: want", "delay soon": "error: time:", "rate x": "error: strconv",
	} {
		io.WriteString(commands, "\n"+command+"\n")
		if got := read(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: answered %q, want %q", command, got, want)
		}
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "stall\nquit\n")
	if got := lineReader(c)(); got != "ok" {
		t.Errorf("the socket answered %q, want ok", got)
	}
	select {
	case got := <-status:
		if got != 0 {
			t.Errorf("exit status %d after quit, want 0", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("the proxy did not end after quit")
	}
}

// lineReader returns a function that returns the next line of r.
func lineReader(r io.Reader) func() string {
	return func() string {
		var b strings.Builder
		for one := make([]byte, 1); ; {
			if _, err := r.Read(one); err != nil || one[0] == '\n' {
				return b.String()
			}
			b.Write(one)
		}
	}
}
