package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/gosource"
)

// fetches are the downloads of what the host lacks of the target's source. They
// run in the background and are tried once for each module.
type fetches struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	tried map[module.Version]bool
}

func newFetches() *fetches {
	f := &fetches{tried: map[module.Version]bool{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// begin fetches what has not been tried. Tell is called with a line for the user
// about each module, from one goroutine at a time.
func (f *fetches) begin(by *gosource.Fetcher, modules []module.Version, tell func(string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []module.Version
	for _, m := range modules {
		if !f.tried[m] {
			f.tried[m] = true
			list = append(list, m)
		}
	}
	if len(list) == 0 || f.ctx.Err() != nil {
		return
	}
	f.wg.Go(func() {
		by.Fetch(f.ctx, list, func(r gosource.Fetched) {
			if f.ctx.Err() == nil {
				tell(fetchedLine(r))
			}
		})
	})
}

func fetchedLine(r gosource.Fetched) string {
	if r.Err != nil {
		return fmt.Sprintf("the source of %s could not be fetched and comes from the node: %s", r.Module, r.Err)
	}
	return fmt.Sprintf("fetched the source of %s in %s", r.Module, r.Took.Round(100*time.Millisecond))
}

// end gives up what is under way, and waits for it.
func (f *fetches) end() {
	f.cancel()
	f.wg.Wait()
}
