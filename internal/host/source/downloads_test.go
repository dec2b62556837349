package source

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/host/gosource"
)

// TestDownloads tries each module once, and reports how it went.
func TestDownloads(t *testing.T) {
	ds := NewDownloads()
	defer ds.Close()
	fetcher := gosource.NewFetcher(gosource.Source{}) // which has no go command to fetch with
	a := MissingModule{module.Version{Path: "example.com/a", Version: "v1.0.0"}, "/cache/a"}
	b := MissingModule{module.Version{Path: "example.com/b", Version: "v1.0.0"}, "/cache/b"}
	c := MissingModule{module.Version{Path: "example.com/c", Version: "v1.0.0"}, "/cache/c"}
	lines := make(chan string, 8)
	notify := func(line string) { lines <- line }
	ds.Start(fetcher, []MissingModule{a}, notify)
	ds.Start(fetcher, []MissingModule{a, b}, notify)
	for range 2 {
		select {
		case line := <-lines:
			if !strings.Contains(line, "could not be fetched and comes from the node: no go command on the PATH") {
				t.Errorf("got the line %q", line)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no line")
		}
	}
	ds.waitFor(t.Context(), filepath.Join("/cache/a", "x.go")) // returns, since that has ended
	ds.Close()
	ds.Start(fetcher, []MissingModule{c}, notify)
	if len(lines) != 0 {
		t.Errorf("after Close: got the line %q", <-lines)
	}
}

func TestDescribeResult(t *testing.T) {
	a := module.Version{Path: "example.com/a", Version: "v1.0.0"}
	for _, tt := range []struct {
		result gosource.FetchResult
		want   string
	}{
		{gosource.FetchResult{Module: a, Took: 1234 * time.Millisecond}, "fetched the source of example.com/a@v1.0.0 in 1.2s"},
		{gosource.FetchResult{Module: a, Err: errors.New("offline")}, "the source of example.com/a@v1.0.0 could not be fetched and comes from the node: offline"},
	} {
		if got := describeResult(tt.result); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// TestDownloadsWaitFor waits for the module of a file while it is being downloaded, and
// for no other.
func TestDownloadsWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ds := NewDownloads()
		defer ds.Close()
		running := &download{dir: filepath.Join("/cache", "a"), done: make(chan struct{})}
		ds.byModule[module.Version{Path: "example.com/a"}] = running
		file := filepath.Join("/cache", "a", "x.go")

		ds.waitFor(t.Context(), filepath.Join("/cache", "ab", "x.go")) // of another module

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ds.waitFor(ctx, file)

		returned := make(chan struct{})
		go func() {
			defer close(returned)
			ds.waitFor(t.Context(), file)
		}()
		synctest.Wait()
		select {
		case <-returned:
			t.Error("did not wait")
		default:
		}
		close(running.done)
		<-returned
	})
}
