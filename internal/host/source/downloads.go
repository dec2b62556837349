package source

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/host/gosource"
)

// Downloads fetches modules of the target's source that the host lacks. It runs in the
// background and tries each module once.
type Downloads struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	byModule map[module.Version]*download
}

// download is the attempt to fetch one module.
type download struct {
	dir  string        // where the go command puts it
	done chan struct{} // closed when it has succeeded or failed
}

// MissingModule is a module that the host lacks.
type MissingModule struct {
	module module.Version
	dir    string // where the go command would put it
}

// NewDownloads returns a Downloads that has nothing to fetch yet. The caller must call
// Close.
func NewDownloads() *Downloads {
	ds := &Downloads{byModule: map[module.Version]*download{}}
	ds.ctx, ds.cancel = context.WithCancel(context.Background())
	return ds
}

// Start starts to fetch the modules that have not been tried. It calls notify with a
// message for the user about each, from one goroutine at a time.
func (ds *Downloads) Start(fetcher *gosource.Fetcher, missing []MissingModule, notify func(string)) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	var list []module.Version
	for _, m := range missing {
		if ds.byModule[m.module] == nil {
			ds.byModule[m.module] = &download{dir: m.dir, done: make(chan struct{})}
			list = append(list, m.module)
		}
	}
	if len(list) == 0 || ds.ctx.Err() != nil {
		return
	}
	ds.wg.Go(func() {
		fetcher.Fetch(ds.ctx, list, func(r gosource.FetchResult) {
			ds.mu.Lock()
			close(ds.byModule[r.Module].done)
			ds.mu.Unlock()
			if ds.ctx.Err() == nil {
				notify(describeResult(r))
			}
		})
	})
}

// waitFor blocks while the module of a host file is being downloaded, or until ctx ends.
func (ds *Downloads) waitFor(ctx context.Context, file string) {
	ds.mu.Lock()
	var running []*download
	for _, d := range ds.byModule {
		if strings.HasPrefix(file, d.dir+string(filepath.Separator)) {
			running = append(running, d)
		}
	}
	ds.mu.Unlock()
	for _, d := range running {
		select {
		case <-d.done:
		case <-ctx.Done():
		case <-ds.ctx.Done():
		}
	}
}

func describeResult(r gosource.FetchResult) string {
	if r.Err != nil {
		return fmt.Sprintf("the source of %s could not be fetched and comes from the node: %s", r.Module, r.Err)
	}
	return fmt.Sprintf("fetched the source of %s in %s", r.Module, r.Took.Round(100*time.Millisecond))
}

// Close cancels the downloads and waits until they have ended.
func (ds *Downloads) Close() {
	ds.cancel()
	ds.wg.Wait()
}
