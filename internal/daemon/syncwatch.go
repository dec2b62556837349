package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/filesync"
)

// How long to wait before what has failed is tried again.
const (
	firstRetry = time.Second
	lastRetry  = 10 * time.Second
)

// WatchSync copies the tree and then what changes in it, until ctx ends, which is
// no error. told is called for each run that has done something, and for the
// first. A connection that is lost is made anew; all is compared then.
func WatchSync(ctx context.Context, c Config, s SyncConfig, told func(SyncReport)) error {
	to, err := s.destination(ctx, c)
	if err != nil {
		return err
	}
	w, err := filesync.Watch(filesync.WatchConfig{Dir: c.Root, Log: c.Log})
	if err != nil {
		return err
	}
	defer w.Close()
	worked, wait := false, firstRetry
	for {
		err := connected(ctx, c, s, to, false, func(ctx context.Context, m *filesync.Mirror) error {
			return s.follow(ctx, to, m, w, func(r SyncReport) {
				if !worked || r.did() {
					told(r)
				}
				worked, wait = true, firstRetry
			})
		})
		if ctx.Err() != nil {
			return nil
		}
		if !worked || errors.Is(err, &diag.Error{Code: diag.SyncRefused}) {
			return err
		}
		c.Log.Warn("nothing is copied until the node can be reached again", "reason", diag.Escape(err.Error()), "next try in", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
		w.Everything("the connection to the node was lost")
	}
}

// did reports whether a run has something to say.
func (r SyncReport) did() bool {
	return r.Files+r.Removed+len(r.Kept)+len(r.Failed) > 0
}

// follow copies one batch after another. What has failed is tried again.
func (s SyncConfig) follow(ctx context.Context, to string, m *filesync.Mirror, w *filesync.Watcher, told func(SyncReport)) error {
	wait := firstRetry
	retry := time.NewTimer(wait)
	retry.Stop()
	defer retry.Stop()
	for {
		b, err := next(ctx, w, retry.C)
		if err != nil {
			return err
		}
		var r SyncReport
		if b.Why != "" {
			err = s.whole(ctx, to, m, &r)
		} else {
			began := time.Now()
			r = SyncReport{Dir: m.Dir, To: to}
			r.Report, err = m.Batch(ctx, b.Paths)
			r.Seconds = time.Since(began).Seconds()
		}
		if err != nil {
			return err
		}
		told(r)
		if len(r.Failed) > 0 {
			retry.Reset(wait)
			wait = min(2*wait, lastRetry)
		} else if b.Why != "" {
			wait = firstRetry
		}
	}
}

// next waits for the next batch; when retry fires, it is everything.
func next(ctx context.Context, w *filesync.Watcher, retry <-chan time.Time) (filesync.Batch, error) {
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-retry:
			w.Everything("some of it could not be copied")
		case <-stop:
		}
	}()
	defer func() { close(stop); <-done }()
	return w.Next(ctx)
}
