package srcsync

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// testConfig is for copying root to the node minikube.
func testConfig(root string) Config {
	return Config{Source: source.Config{Root: root}, Link: link.Config{SSH: sshconn.Config{Node: &node.Node{Name: "minikube"}}}}
}

// TestFollowDestination checks that a daemon continues what the user has copied before,
// and copies anything else only in the mode On.
func TestFollowDestination(t *testing.T) {
	testenv.SkipOn(t, "windows", "syncing from it is not supported")
	const root = "/home/you/src/containerd"
	copyTo := func(to string) filesync.Copy { return filesync.Copy{Dir: root, Node: "minikube", To: to} }
	for _, tt := range []struct {
		name    string
		mode    Mode
		derived string // the tree's directory according to the target's binary
		copies  []filesync.Copy
		want    string
		refused bool
	}{
		{"off", Off, "/go/src/containerd", []filesync.Copy{copyTo("/go/src/containerd")}, "", false},
		{"no mode", "", "/go/src/containerd", []filesync.Copy{copyTo("/go/src/containerd")}, "", false},
		{"never copied", Auto, "/go/src/containerd", nil, "", false},
		{"another directory's copy", Auto, "/go/src/containerd", []filesync.Copy{{Dir: "/home/you/src/other", Node: "minikube", To: "/go/src/containerd"}}, "", false},
		{"another node's copy", Auto, "/go/src/containerd", []filesync.Copy{{Dir: root, Node: "dev", To: "/go/src/containerd"}}, "", false},
		{"copied", Auto, "/go/src/containerd", []filesync.Copy{copyTo("/home/docker/c"), copyTo("/go/src/containerd")}, "/go/src/containerd", false},
		{"copied elsewhere", Auto, "/go/src/containerd", []filesync.Copy{copyTo("/home/docker/c")}, "/home/docker/c", false},
		{"copied to a system directory by force", Auto, "", []filesync.Copy{copyTo("/usr/src/c")}, "/usr/src/c", true},
		{"on", On, "/go/src/containerd", nil, "/go/src/containerd", false},
		{"on, in a hidden directory", On, "/root/.cache/containerd", nil, "/root/.cache/containerd", true},
		{"on, destination unknown", On, "", nil, "", true},
		{"on, copied elsewhere", On, "", []filesync.Copy{copyTo("/home/docker/c")}, "/home/docker/c", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testConfig(root)
			c.RecordDir = t.TempDir()
			for _, copied := range tt.copies {
				c.Link.SSH.Node.Name = copied.Node
				r, err := filesync.OpenRecord(c.recordFile(filepath.Join(copied.Dir, copied.To)), copied)
				if err != nil {
					t.Fatal(err)
				}
				r.Close()
			}
			c.Link.SSH.Node.Name = "minikube"
			to, err := c.FollowDestination(tt.mode, tt.derived)
			if to != tt.want {
				t.Errorf("got %q, want %q", to, tt.want)
			}
			switch {
			case err == nil && tt.refused:
				t.Errorf("got no error, want %s", diag.SyncRefused)
			case err != nil && !tt.refused:
				t.Error(err)
			case err != nil:
				checkCode(t, err, diag.SyncRefused)
			}
		})
	}
}

// checkCode checks the code of an error.
func checkCode(t *testing.T, err error, want diag.Code) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want %s", want)
	} else if got := diag.CodeOf(err); got != want {
		t.Errorf("got %s, want %s: %v", got, want, err)
	}
}

// TestSyncerCopies checks that requests for the copy that the Syncer maintains are
// recognised.
func TestSyncerCopies(t *testing.T) {
	const root, minikube = "/home/you/src/containerd", "minikube"
	for _, tt := range []struct {
		derived, dir, node, to string
		want                   bool
	}{
		{"/go/src/c", root, minikube, "", true},
		{"/go/src/c", root, minikube, "/go/src/c/", true},
		{"/go/src/c", root, minikube, "/home/docker/c", false},
		{"/go/src/c", root, "dev", "", false},
		{"/go/src/c", root + "/pkg", minikube, "", false},
		{"", root, minikube, "", true},
		{"/src/elsewhere", root, minikube, "", false},
		{"/src/elsewhere", root, minikube, "/go/src/c", true},
	} {
		c := testConfig(root)
		c.To = "/go/src/c"
		s := NewSyncer(SyncerConfig{Config: c, Derived: tt.derived})
		if got := s.Copies(tt.dir, tt.node, tt.to); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
		s.status.State = Stopped
		if s.Copies(tt.dir, tt.node, tt.to) {
			t.Errorf("%+v: got true from a Syncer that has stopped", tt)
		}
	}
}

// TestHistory checks that each follower gets each run in turn, except those that were
// dropped before a slow follower asked.
func TestHistory(t *testing.T) {
	const followers, runs = 3, 1000
	var h history
	var wg sync.WaitGroup
	for range followers {
		wg.Go(func() { followHistory(t, &h, runs) })
	}
	for i := range runs {
		if got := h.add(RunRecord{Report: &Report{Report: filesync.Report{Files: i + 1}}}); got != i+1 {
			t.Errorf("added run %d, got the number %d", i+1, got)
		}
	}
	r, err := h.next(t.Context(), 0)
	if err != nil {
		t.Error(err)
	}
	if want := runs - maxRecords + 1; r.Run != want {
		t.Errorf("got run %d as the oldest, want %d", r.Run, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.next(ctx, runs); !errors.Is(err, context.Canceled) {
		t.Errorf("next with a cancelled context: got %v", err)
	}
	h.close()
	wg.Wait()
	_, err = h.next(t.Context(), runs)
	checkCode(t, err, diag.SyncFailed)
}

// followHistory calls next until the history is closed, which must be after the last run.
func followHistory(t *testing.T, h *history, last int) {
	after := 0
	for {
		r, err := h.next(t.Context(), after)
		if err != nil {
			checkCode(t, err, diag.SyncFailed)
			if after != last {
				t.Errorf("got the last run %d, want %d", after, last)
			}
			return
		}
		if r.Run <= after {
			t.Errorf("got run %d after run %d", r.Run, after)
		}
		if r.Report.Files != r.Run {
			t.Errorf("got the report of run %d for run %d", r.Report.Files, r.Run)
		}
		after = r.Run
	}
}

// TestScanRequests checks that each caller is answered with a scan that starts after its
// request, and all callers when the Syncer stops.
func TestScanRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a scanRequests
		results := make(chan scanResult, 3)
		request := func(ctx context.Context) {
			go func() { results <- a.wait(ctx, func() {}) }()
			synctest.Wait()
		}
		request(t.Context())
		first := a.take()
		request(t.Context()) // during the first caller's scan
		<-a.arrivals()
		a.answer(first, scanResult{report: Report{To: "/t"}})
		if r := <-results; r.err != nil || r.report.To != "/t" {
			t.Errorf("got %+v, want the report of the scan", r)
		}
		synctest.Wait()
		if len(results) > 0 {
			t.Errorf("the second caller got %+v, from a scan that started before its request", <-results)
		}
		a.answer(a.take(), scanResult{err: diag.Errorf(diag.LinkLost, "gone")})
		checkCode(t, (<-results).err, diag.LinkLost)

		ctx, cancel := context.WithCancel(t.Context())
		request(ctx)
		cancel()
		if r := <-results; !errors.Is(r.err, context.Canceled) {
			t.Errorf("after its context was cancelled, a caller got %v", r.err)
		}

		request(t.Context())
		a.close()
		checkCode(t, (<-results).err, diag.SyncFailed)
		checkCode(t, a.wait(t.Context(), func() {}).err, diag.SyncFailed)
	})
}
