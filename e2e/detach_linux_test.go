package e2e

import (
	"testing"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// detaches is how often TestDetachHot detaches. A plain Delve killed 24 of 40
// targets here.
const detaches = 100

// TestDetachHot detaches from a containerd that runs, again and again, into a
// breakpoint whose condition is false.
func TestDetachHot(t *testing.T) {
	f := setup(t)
	s := f.serve(t, "--log-level", "warn")
	pid := f.containerd(t)
	f.load(t)
	args := dap.SetBreakpointsArguments{
		Source:      dap.Source{Path: f.file(versionFile)},
		Breakpoints: []dap.SourceBreakpoint{{Line: f.lineOf(t, versionFile, versionCode), Condition: "1 == 2"}},
	}
	start := time.Now()
	for i := range detaches {
		hotSession(t, s, args)
		if now := f.containerd(t); now != pid {
			t.Fatalf("after %d detaches containerd is pid %d, it was %d", i+1, now, pid)
		}
	}
	f.free(t, pid, 5*time.Second)
	t.Logf("%d sessions in %s, containerd alive after each", detaches, time.Since(start).Round(time.Second))
	f.works(t, "")
}

// hotSession attaches, sets the breakpoint while containerd runs, lets it be
// hit, and leaves.
func hotSession(t *testing.T, s *server, args dap.SetBreakpointsArguments) {
	t.Helper()
	ctx := short(t)
	c := s.dial(t)
	defer c.Close()
	if _, err := c.Attach(ctx, dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(ctx, "setBreakpoints", args); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // some dozens of hits
	if err := c.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
}
