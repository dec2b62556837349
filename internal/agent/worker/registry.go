//go:build linux

package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
)

// registry matches sessions' descriptors with the attach requests that wait for them;
// either may come first.
type registry struct {
	mu    sync.Mutex
	chans map[string]chan supervisor.JoinRequest
}

func newRegistry() *registry { return &registry{chans: map[string]chan supervisor.JoinRequest{}} }

func (r *registry) channel(token string) chan supervisor.JoinRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chans[token] == nil {
		r.chans[token] = make(chan supervisor.JoinRequest, 1)
	}
	return r.chans[token]
}

func (r *registry) put(j supervisor.JoinRequest) {
	ch := r.channel(j.Token)
	select {
	case ch <- j:
	default: // a token used twice
		j.Refuse()
		return
	}
	time.AfterFunc(supervisor.JoinTimeout, func() {
		select {
		case late := <-ch:
			late.Refuse()
			r.forget(j.Token)
		default:
		}
	})
}

func (r *registry) get(ctx context.Context, token string) (supervisor.JoinRequest, error) {
	defer r.forget(token)
	timer := time.NewTimer(supervisor.JoinTimeout)
	defer timer.Stop()
	select {
	case j := <-r.channel(token):
		if err := j.Accept(); err != nil {
			j.Close()
			return supervisor.JoinRequest{}, fmt.Errorf("the session's channel ended before the session began: %w", err)
		}
		return j, nil
	case <-ctx.Done():
		return supervisor.JoinRequest{}, ctx.Err()
	case <-timer.C:
		return supervisor.JoinRequest{}, fmt.Errorf("the session's channel was not opened within %s", supervisor.JoinTimeout)
	}
}

func (r *registry) forget(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.chans, token)
}
