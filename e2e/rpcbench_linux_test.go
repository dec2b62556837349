package e2e

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
)

// BenchmarkRPCState measures the round trip of the request that GoLand polls: the state,
// without waiting, while the target runs.
func BenchmarkRPCState(b *testing.B) {
	compareRPC(b, true, "StateNonBlocking", func(c *rpc2.RPCClient) error {
		_, err := c.GetStateNonBlocking()
		return err
	})
}

// BenchmarkRPCStacktrace measures the round trip of a stack while the target is halted
// in CreateContainer.
func BenchmarkRPCStacktrace(b *testing.B) {
	compareRPC(b, false, "Stacktrace", func(c *rpc2.RPCClient) error {
		_, err := c.Stacktrace(-1, 20, 0, 0, nil)
		return err
	})
}

// compareRPC measures one request through the bridge and through ssh -L.
func compareRPC(b *testing.B, running bool, what string, ask func(*rpc2.RPCClient) error) {
	f := setup(b)
	s := f.serve(b, "--log-level", "error")
	alt := f.alternative(b)
	root := f.node.BuildRoot(f.node.Containerd())
	var ours, theirs []time.Duration
	for b.Loop() {
		for range rounds {
			ours = append(ours, f.roundRPC(b, s.addr, f.source, running, ask)...)
			dlv := alt.start(b) // its target halted: with --continue a halt can be lost
			theirs = append(theirs, f.roundRPC(b, alt.addr, root, running, ask)...)
			dlv.stop(b)
		}
	}
	report(b, what, ours, theirs)
}

// roundRPC brings the target into the state to be measured, sends perRound requests and
// detaches. root is the directory of the source for that server.
func (f *fixture) roundRPC(b *testing.B, addr, root string, running bool, ask func(*rpc2.RPCClient) error) []time.Duration {
	b.Helper()
	conn, err := dialAs(userUID, addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	c := rpc2.NewClientFromConn(conn)
	if !running {
		bp := &api.Breakpoint{File: filepath.Join(root, createContainerFile), Line: f.lineOf(b, createContainerFile, createContainerCode)}
		if _, err := c.CreateBreakpoint(bp); err != nil {
			b.Fatal(err)
		}
	}
	stopped := c.Continue()
	if !running {
		go f.node.Exec(context.Background(), "criload", "-timeout=60s", "create", podName())
		if state := within(b, stopped); state.Err != nil {
			b.Fatal(state.Err)
		}
	} else {
		for state := (&api.DebuggerState{}); !state.Running; {
			if state, err = c.GetStateNonBlocking(); err != nil {
				b.Fatal(err)
			}
		}
	}
	times := make([]time.Duration, perRound)
	for i := range 100 + len(times) { // warm up first
		start := time.Now()
		if err := ask(c); err != nil {
			b.Fatal(err)
		}
		if i >= 100 {
			times[i-100] = time.Since(start)
		}
	}
	if running {
		if _, err := c.Halt(); err != nil {
			b.Fatal(err)
		}
		within(b, stopped)
	}
	if err := c.Detach(false); err != nil {
		b.Fatal(err)
	}
	return times
}
