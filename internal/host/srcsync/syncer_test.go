package srcsync

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
)

// testConfig copies root to the node minikube.
func testConfig(root string) Config {
	return Config{Source: source.Config{Root: root}, Link: link.Config{SSH: sshconn.Config{Node: &node.Node{Name: "minikube"}}}}
}

// TestFollowDestination goes on with what the user has copied, and with nothing else
// unless it is asked to.
func TestFollowDestination(t *testing.T) {
	testenv.SkipOn(t, "windows", "nothing is copied from it")
	const root = "/home/you/src/containerd"
	here := func(to string) filesync.Copy { return filesync.Copy{Dir: root, Node: "minikube", To: to} }
	for _, tt := range []struct {
		name    string
		mode    Mode
		derived string // where the target's binary says that it was
		copies  []filesync.Copy
		want    string
		refused bool
	}{
		{"off", Off, "/go/src/containerd", []filesync.Copy{here("/go/src/containerd")}, "", false},
		{"no mode", "", "/go/src/containerd", []filesync.Copy{here("/go/src/containerd")}, "", false},
		{"never copied", Auto, "/go/src/containerd", nil, "", false},
		{"another directory's copy", Auto, "/go/src/containerd", []filesync.Copy{{Dir: "/home/you/src/other", Node: "minikube", To: "/go/src/containerd"}}, "", false},
		{"another node's copy", Auto, "/go/src/containerd", []filesync.Copy{{Dir: root, Node: "dev", To: "/go/src/containerd"}}, "", false},
		{"copied", Auto, "/go/src/containerd", []filesync.Copy{here("/home/docker/c"), here("/go/src/containerd")}, "/go/src/containerd", false},
		{"copied elsewhere", Auto, "/go/src/containerd", []filesync.Copy{here("/home/docker/c")}, "/home/docker/c", false},
		{"copied to the system's by force", Auto, "", []filesync.Copy{here("/usr/src/c")}, "/usr/src/c", true},
		{"on", On, "/go/src/containerd", nil, "/go/src/containerd", false},
		{"on, in a hidden directory", On, "/root/.cache/containerd", nil, "/root/.cache/containerd", true},
		{"on, and not known where", On, "", nil, "", true},
		{"on, and copied elsewhere", On, "", []filesync.Copy{here("/home/docker/c")}, "/home/docker/c", false},
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
			if to != tt.want || (err != nil) != tt.refused || err != nil && diag.CodeOf(err) != diag.SyncRefused {
				t.Errorf("%q, %v", to, err)
			}
		})
	}
}

// TestSyncerCopies asks a daemon only for what would be copied without it.
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
		f := NewSyncer(SyncerConfig{Config: c, Derived: tt.derived})
		if got := f.Copies(tt.dir, tt.node, tt.to); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
		f.status.State = Stopped
		if f.Copies(tt.dir, tt.node, tt.to) {
			t.Errorf("%+v: it does, and is stopped", tt)
		}
	}
}

// TestHistory gives each run to each who follows, in turn, but for those that nobody
// has fetched in time.
func TestHistory(t *testing.T) {
	var s history
	var wg sync.WaitGroup
	const followers, runs = 3, 1000
	for range followers {
		wg.Go(func() {
			after := 0
			for {
				n, err := s.next(t.Context(), after)
				if err != nil {
					if after != runs || diag.CodeOf(err) != diag.SyncFailed {
						t.Errorf("after %d: %v", after, err)
					}
					return
				}
				if n.Run <= after || n.Report.Files != n.Run {
					t.Errorf("%+v after %d", n, after)
				}
				after = n.Run
			}
		})
	}
	for i := range runs {
		if got := s.add(RunRecord{Report: &Report{Report: filesync.Report{Files: i + 1}}}); got != i+1 {
			t.Errorf("run %d has the number %d", i+1, got)
		}
	}
	if n, err := s.next(t.Context(), 0); n.Run != runs-maxRecords+1 || err != nil {
		t.Errorf("%+v, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.next(ctx, runs); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.close()
	wg.Wait()
	if _, err := s.next(t.Context(), runs); diag.CodeOf(err) != diag.SyncFailed {
		t.Errorf("after the end: %v", err)
	}
}

// TestScanRequests answers who waits by a comparison that begins later, and nobody waits
// for one that never comes.
func TestScanRequests(t *testing.T) {
	var a scanRequests
	var wg sync.WaitGroup
	defer wg.Wait()
	asked := make(chan struct{}, 3)
	results := make(chan error, 3)
	ask := func(ctx context.Context) {
		wg.Go(func() {
			r := a.wait(ctx, func() { asked <- struct{}{} })
			if r.err == nil && r.report.To != "/t" {
				r.err = errors.New("another report")
			}
			results <- r.err
		})
		<-asked
	}
	ask(t.Context())
	first := a.take()
	ask(t.Context()) // while the first's comparison is under way
	<-a.arrivals()
	a.answer(first, scanResult{report: Report{To: "/t"}})
	if err := <-results; err != nil {
		t.Error(err)
	}
	select {
	case err := <-results:
		t.Errorf("the second was answered by the first's: %v", err)
	default:
	}
	a.answer(a.take(), scanResult{err: diag.Errorf(diag.LinkLost, "gone")})
	if err := <-results; diag.CodeOf(err) != diag.LinkLost {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ask(ctx)
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ask(t.Context())
	a.close()
	if err := <-results; diag.CodeOf(err) != diag.SyncFailed {
		t.Error(err)
	}
	if r := a.wait(t.Context(), func() {}); diag.CodeOf(r.err) != diag.SyncFailed {
		t.Errorf("after the end: %v", r.err)
	}
}
