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

// Fetches are the downloads of what the host lacks of the target's source. They
// run in the background and are tried once for each module.
type Downloads struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	downloads map[module.Version]*download
}

// download is one try at a module.
type download struct {
	dir  string        // where it will stand
	done chan struct{} // closed when it is over, well or not
}

// Missing is a module that the host lacks, and where it would stand.
type MissingModule struct {
	module module.Version
	dir    string
}

// NewFetches returns an empty set of downloads; End must be called.
func NewDownloads() *Downloads {
	f := &Downloads{downloads: map[module.Version]*download{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Start fetches what has not been tried. Tell is called with a line for the user
// about each module, from one goroutine at a time.
func (f *Downloads) Start(by *gosource.Fetcher, lacking []MissingModule, tell func(string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []module.Version
	for _, m := range lacking {
		if f.downloads[m.module] == nil {
			f.downloads[m.module] = &download{dir: m.dir, done: make(chan struct{})}
			list = append(list, m.module)
		}
	}
	if len(list) == 0 || f.ctx.Err() != nil {
		return
	}
	f.wg.Go(func() {
		by.Fetch(f.ctx, list, func(r gosource.FetchResult) {
			f.mu.Lock()
			close(f.downloads[r.Module].done)
			f.mu.Unlock()
			if f.ctx.Err() == nil {
				tell(describeResult(r))
			}
		})
	})
}

// wait waits for the download that will bring a file of the host, if one is under
// way, or for the end of ctx.
func (f *Downloads) waitFor(ctx context.Context, file string) {
	f.mu.Lock()
	var bringing []*download
	for _, d := range f.downloads {
		if strings.HasPrefix(file, d.dir+string(filepath.Separator)) {
			bringing = append(bringing, d)
		}
	}
	f.mu.Unlock()
	for _, d := range bringing {
		select {
		case <-d.done:
		case <-ctx.Done():
		case <-f.ctx.Done():
		}
	}
}

func describeResult(r gosource.FetchResult) string {
	if r.Err != nil {
		return fmt.Sprintf("the source of %s could not be fetched and comes from the node: %s", r.Module, r.Err)
	}
	return fmt.Sprintf("fetched the source of %s in %s", r.Module, r.Took.Round(100*time.Millisecond))
}

// End gives up what is under way, and waits for it.
func (f *Downloads) Close() {
	f.cancel()
	f.wg.Wait()
}
