package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/filesync"
	"github.com/dapbridge/dapbridge/internal/node"
	"github.com/dapbridge/dapbridge/internal/sshconn"
	"github.com/dapbridge/dapbridge/pathmap"
)

// TestSyncDestination goes on with what the user has copied, and with nothing else
// unless it is asked to.
func TestSyncDestination(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("nothing is copied from Windows")
	}
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
			r, err := a.wait(ctx, func() { asked <- struct{}{} })
			if err == nil && r.To != "/t" {
				err = errors.New("another report")
			}
			results <- err
		})
		<-asked
	}
	ask(t.Context())
	first := a.take()
	ask(t.Context()) // while the first's comparison is under way
	<-a.come()
	a.answer(first, SyncReport{To: "/t"}, nil)
	if err := <-results; err != nil {
		t.Error(err)
	}
	select {
	case err := <-results:
		t.Errorf("the second was answered by the first's: %v", err)
	default:
	}
	a.answer(a.take(), SyncReport{}, diag.Errorf(diag.LinkLost, "gone"))
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
	if _, err := a.wait(t.Context(), func() {}); diag.CodeOf(err) != diag.SyncFailed {
		t.Errorf("after the end: %v", err)
	}
}
