package source

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"golang.org/x/mod/module"
)

// TestFetches tries each module once, and says how it went.
func TestFetches(t *testing.T) {
	f := NewDownloads()
	by := gosource.NewFetcher(gosource.Source{}) // which has no go command to fetch with
	a := MissingModule{module.Version{Path: "example.com/a", Version: "v1.0.0"}, "/cache/a"}
	b := MissingModule{module.Version{Path: "example.com/b", Version: "v1.0.0"}, "/cache/b"}
	lines := make(chan string, 8)
	f.Start(by, []MissingModule{a}, func(line string) { lines <- line })
	f.Start(by, []MissingModule{a, b}, func(line string) { lines <- line })
	for range 2 {
		select {
		case line := <-lines:
			if !strings.Contains(line, "could not be fetched and comes from the node: no go command on the PATH") {
				t.Error(line)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no line")
		}
	}
	f.waitFor(t.Context(), filepath.Join("/cache/a", "x.go")) // which is over
	f.Close()
	f.Start(by, []MissingModule{{module.Version{Path: "example.com/c"}, "/cache/c"}}, func(line string) { lines <- line })
	if len(lines) != 0 {
		t.Errorf("said too: %s", <-lines)
	}
	if got := describeResult(gosource.FetchResult{Module: a.module, Took: 1234 * time.Millisecond}); got != "fetched the source of example.com/a@v1.0.0 in 1.2s" {
		t.Error(got)
	}
	if got := describeResult(gosource.FetchResult{Module: a.module, Err: errors.New("offline")}); !strings.HasSuffix(got, ": offline") {
		t.Error(got)
	}
}

// TestFetchIsWaitedFor has a file asked for that is being fetched, and others.
func TestFetchIsWaitedFor(t *testing.T) {
	f := NewDownloads()
	defer f.Close()
	under := &download{dir: filepath.Join("/cache", "a"), done: make(chan struct{})}
	f.downloads[module.Version{Path: "example.com/a"}] = under
	f.waitFor(t.Context(), filepath.Join("/cache", "ab", "x.go")) // of another module
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		f.waitFor(t.Context(), filepath.Join("/cache", "a", "x.go"))
	}()
	select {
	case <-waited:
		t.Error("did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	close(under.done)
	<-waited
	under.done = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.waitFor(ctx, filepath.Join("/cache", "a", "x.go"))
}
