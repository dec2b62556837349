package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
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
	worked := s.Standing
	k := keeper{
		s: s, to: to, w: w,
		over: func(ctx context.Context, f func(context.Context, *filesync.Mirror) error) error {
			return connected(ctx, c, s, to, false, f)
		},
		begun: func(bool) {},
		told: func(r SyncReport, _ bool) int {
			if !worked || r.did() {
				told(r)
			}
			worked = true
			return 0
		},
		failed: func(err error, next time.Duration) error {
			if !worked || errors.Is(err, &diag.Error{Code: diag.SyncRefused}) {
				return err
			}
			c.Log.Warn("nothing is copied until the node can be reached again", "reason", diag.Escape(err.Error()), "next try in", next)
			return nil
		},
	}
	return k.run(ctx)
}

// did reports whether a run has something to say.
func (r SyncReport) did() bool {
	return r.Files+r.Removed+len(r.Kept)+len(r.Failed) > 0
}

// keeper keeps the node's copy like the tree.
type keeper struct {
	s  SyncConfig
	to string
	w  *filesync.Watcher
	// over runs f with a mirror that stands as long as f's context.
	over func(ctx context.Context, f func(context.Context, *filesync.Mirror) error) error
	// begun is told that a run begins, and whether it compares all; told what it has
	// come to, and returns its number.
	begun func(whole bool)
	told  func(r SyncReport, whole bool) (run int)
	// failed is told why nothing can be copied, and when that is tried again. It
	// returns what ends run instead.
	failed func(err error, next time.Duration) error
	asks   syncAsks
}

// run copies until ctx ends, which is no error, or failed returns one.
func (k *keeper) run(ctx context.Context) error {
	for wait := firstRetry; ; {
		err := k.over(ctx, func(ctx context.Context, m *filesync.Mirror) error {
			return k.follow(ctx, m, func() { wait = firstRetry })
		})
		if ctx.Err() != nil {
			return nil
		}
		k.asks.answer(k.asks.take(), syncAnswer{err: err})
		if err := k.failed(err, wait); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case <-k.asks.come():
		}
		wait = min(2*wait, lastRetry)
		k.w.RequestFullScan("the connection to the node was lost")
	}
}

// follow copies one batch after another, and tells worked of each. What has failed
// is tried again.
func (k *keeper) follow(ctx context.Context, m *filesync.Mirror, worked func()) error {
	wait := firstRetry
	for {
		b, err := k.w.Next(ctx)
		if err != nil {
			return err
		}
		whole := b.FullScan != ""
		k.begun(whole)
		r := SyncReport{Dir: m.Dir, To: k.to}
		var waiting []chan<- syncAnswer
		if whole {
			waiting = k.asks.take()
			err = k.s.whole(ctx, k.to, m, &r)
		} else {
			began := time.Now()
			r.Report, err = m.SyncBatch(ctx, b)
			r.Seconds = time.Since(began).Seconds()
		}
		if err != nil {
			if len(r.Kept) > 0 { // or nobody hears where that is now
				k.told(r, whole)
			}
			k.asks.answer(waiting, syncAnswer{err: err})
			return err
		}
		worked()
		k.asks.answer(waiting, syncAnswer{report: r, run: k.told(r, whole)})
		if len(r.Failed) > 0 {
			k.w.RescanAfter(wait)
			wait = min(2*wait, lastRetry)
		} else if whole {
			wait = firstRetry
		}
	}
}
