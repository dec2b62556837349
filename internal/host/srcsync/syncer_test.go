package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/pathmap"
)

// TestSyncDestination goes on with what the user has copied, and with nothing else
// unless it is asked to.
func TestSyncDestination(t *testing.T) {
	testenv.SkipOn(t, "windows", "nothing is copied from it")
	const root = "/home/you/src/containerd"
	here := func(to string) filesync.Copy { return filesync.Copy{Dir: root, Node: "minikube", To: to} }
	for _, tt := range []struct {
		name    string
		mode    SyncMode
		derived string // where the target's binary says that it was
		copies  []filesync.Copy
		want    string
		refused bool
	}{
		{"off", SyncOff, "/go/src/containerd", []filesync.Copy{here("/go/src/containerd")}, "", false},
		{"no mode", "", "/go/src/containerd", []filesync.Copy{here("/go/src/containerd")}, "", false},
		{"never copied", SyncAuto, "/go/src/containerd", nil, "", false},
		{"another directory's copy", SyncAuto, "/go/src/containerd", []filesync.Copy{{Dir: "/home/you/src/other", Node: "minikube", To: "/go/src/containerd"}}, "", false},
		{"another node's copy", SyncAuto, "/go/src/containerd", []filesync.Copy{{Dir: root, Node: "dev", To: "/go/src/containerd"}}, "", false},
		{"copied", SyncAuto, "/go/src/containerd", []filesync.Copy{here("/home/docker/c"), here("/go/src/containerd")}, "/go/src/containerd", false},
		{"copied elsewhere", SyncAuto, "/go/src/containerd", []filesync.Copy{here("/home/docker/c")}, "/home/docker/c", false},
		{"copied to the system's by force", SyncAuto, "", []filesync.Copy{here("/usr/src/c")}, "/usr/src/c", true},
		{"on", SyncOn, "/go/src/containerd", nil, "/go/src/containerd", false},
		{"on, in a hidden directory", SyncOn, "/root/.cache/containerd", nil, "/root/.cache/containerd", true},
		{"on, and not known where", SyncOn, "", nil, "", true},
		{"on, of a trimmed binary", SyncOn, "github.com/containerd/containerd", nil, "", true},
		{"on, and copied elsewhere", SyncOn, "", []filesync.Copy{here("/home/docker/c")}, "/home/docker/c", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Root: root, SSH: sshconn.Config{Node: &node.Node{Name: "minikube"}}, Sync: ServeSync{tt.mode, t.TempDir()}}
			for _, copied := range tt.copies {
				c.SSH.Node.Name = copied.Node
				r, err := filesync.OpenRecord(SyncConfig{RecordDir: c.Sync.RecordDir}.recordFile(c, filepath.Join(copied.Dir, copied.To)), copied)
				if err != nil {
					t.Fatal(err)
				}
				r.Close()
			}
			c.SSH.Node.Name = "minikube"
			m := &sourceMap{}
			if tt.derived != "" {
				var err error
				if m.paths, err = pathmap.New(pathmap.Rule{Host: root, Node: tt.derived}); err != nil {
					t.Fatal(err)
				}
			}
			to, err := c.syncDestination(m)
			if to != tt.want || (err != nil) != tt.refused || err != nil && diag.CodeOf(err) != diag.SyncRefused {
				t.Errorf("%q, %v", to, err)
			}
		})
	}
}

// TestFollowerCopies asks a daemon only for what would be copied without it.
func TestFollowerCopies(t *testing.T) {
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
		f := &follower{derived: tt.derived, keeper: keeper{to: "/go/src/c"}}
		f.cfg = Config{Root: root, SSH: sshconn.Config{Node: &node.Node{Name: minikube}}}
		if got := f.copies(tt.dir, tt.node, tt.to); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
		f.status.State = SyncStopped
		if f.copies(tt.dir, tt.node, tt.to) {
			t.Errorf("%+v: it does, and is stopped", tt)
		}
	}
	if (*follower)(nil).copies(root, minikube, "") {
		t.Error("nobody copies")
	}
}

// TestSyncRuns gives each run to each who follows, in turn, but for those that nobody
// has fetched in time.
func TestSyncRuns(t *testing.T) {
	var s syncRuns
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
		if got := s.add(SyncNext{Report: &SyncReport{Report: filesync.Report{Files: i + 1}}}); got != i+1 {
			t.Errorf("run %d has the number %d", i+1, got)
		}
	}
	if n, err := s.next(t.Context(), 0); n.Run != runs-runsKept+1 || err != nil {
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

// TestSyncAsks answers who waits by a comparison that begins later, and nobody waits
// for one that never comes.
func TestSyncAsks(t *testing.T) {
	var a syncAsks
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
	<-a.come()
	a.answer(first, syncAnswer{report: SyncReport{To: "/t"}})
	if err := <-results; err != nil {
		t.Error(err)
	}
	select {
	case err := <-results:
		t.Errorf("the second was answered by the first's: %v", err)
	default:
	}
	a.answer(a.take(), syncAnswer{err: diag.Errorf(diag.LinkLost, "gone")})
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
