package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/daemon"
	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestPathsCommand has dapbridge explain the map of the node's containerd, and
// one file of it by its name here and its name there.
func TestPathsCommand(t *testing.T) {
	f := setup(t)
	paths := func(v any, args ...string) {
		t.Helper()
		cmd := f.command(short(t), userUID, append(append([]string{"paths", "-o", "json"}, f.nodeArgs()...), args...)...)
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, v)
		}
		if err != nil {
			t.Fatalf("dapbridge paths %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	var p daemon.Paths
	paths(&p)
	if p.Problem != "" || p.Files < 3000 || p.Here < p.Files-10 || p.Target.PID != f.containerd(t) {
		t.Errorf("%d of %d files of pid %d; %s", p.Here, p.Files, p.Target.PID, p.Problem)
	}
	for _, asked := range []string{createContainerFile + ":60", f.file(createContainerFile) + ":60"} {
		var here, there daemon.FilePath
		paths(&here, asked)
		paths(&there, here.Node)
		if !here.Here || !here.InTarget || here.Line != 60 || here.Host != f.file(createContainerFile) {
			t.Errorf("%s: %+v", asked, here)
		}
		if there.Host != here.Host || there.Node != here.Node || !there.InTarget {
			t.Errorf("%s: %+v", here.Node, there)
		}
	}
}

// spot is a line in a part of containerd's source, and what makes it run there.
type spot struct {
	file string // on the host
	code string // that the line holds
	run  func(context.Context) (said []byte, err error)
}

// TestPathsInEveryPart sets breakpoints in the main module, a dependency and the
// standard library of containerds that were built in different ways, by the
// host's paths and without --map: each is verified and hit, and the frames lead
// to files that the host has.
func TestPathsInEveryPart(t *testing.T) {
	for flavour, tasks := range map[string]string{
		testbed.Make:       "plugins/services/tasks/local.go",
		testbed.Trimpath:   "plugins/services/tasks/local.go",
		testbed.V1Make:     "services/tasks/local.go",
		testbed.V1Trimpath: "services/tasks/local.go",
	} {
		t.Run(flavour, func(t *testing.T) {
			f := setup(t)
			f.use(t, flavour)
			root, create := f.source, createContainerFile
			if strings.HasPrefix(tasks, "services/") {
				root, create = filepath.Join(f.dir, "v1", flavour), "pkg/cri/server/container_create.go"
				if err := f.node.UserSource(t.Context(), flavour, root, userUID); err != nil {
					t.Fatal(err)
				}
			}
			c := f.serve(t, "--root", root).dial(t)
			if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, s := range []spot{
				{filepath.Join(root, create), createContainerCode, f.createsContainer},
				{filepath.Join(root, tasks), "container, err := l.getContainer(ctx, r.ContainerID)", f.createsContainer},
				{filepath.Join(root, "vendor/google.golang.org/grpc/server.go"), "ctx := stream.Context()", f.createsContainer},
				{filepath.Join(goroot(t), "src/net/http/server.go"), "handler := sh.srv.Handler", f.asksStreamingServer},
			} {
				hit(t, c, s)
			}
		})
	}
}

// hit sees that a breakpoint at the spot holds.
func hit(t *testing.T, c *dapclient.Client, s spot) {
	t.Helper()
	ctx := short(t)
	line := lineIn(t, s.file, s.code)
	bps, err := c.SetBreakpoints(ctx, s.file, []int{line})
	if err != nil || len(bps) != 1 || !bps[0].Verified || bps[0].Source == nil || bps[0].Source.Path != s.file {
		t.Errorf("the breakpoint in %s: %+v, %v", s.file, bps, err)
		return
	}
	running, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if said, err := s.run(running); err != nil && running.Err() == nil {
			t.Logf("what should run into %s: %v\n%s", s.file, err, said)
		}
	}()
	defer func() { cancel(); <-done }()
	stop, err := c.WaitStopped(ctx)
	if err != nil {
		t.Fatalf("%s:%d was not hit: %v", s.file, line, err)
	}
	frames, _, err := c.StackTrace(ctx, stop.ThreadId, 0, 100)
	if err != nil || frames[0].Source == nil || frames[0].Source.Path != s.file || frames[0].Line != line {
		t.Errorf("stopped at %+v, %v, want %s:%d", frames, err, s.file, line)
	}
	for _, fr := range frames {
		if fr.Source == nil || fr.Source.Path == "" {
			continue
		}
		if _, err := os.Stat(fr.Source.Path); err != nil {
			t.Errorf("frame %s: %v", fr.Name, err)
		}
	}
	if _, err := c.SetBreakpoints(ctx, s.file, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Continue(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	<-done
}

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// createsContainer has containerd run a pod with a container.
func (f *fixture) createsContainer(ctx context.Context) ([]byte, error) {
	return f.node.Exec(ctx, "criload", "create", podName(), "-timeout", "60s")
}

// asksStreamingServer sends a request to containerd's HTTP server for exec and
// attach, which listens on a port of the node's loopback.
func (f *fixture) asksStreamingServer(ctx context.Context) ([]byte, error) {
	return f.node.Exec(ctx, "bash", "-c", `
		port=$(ss -Hltnp | sed -n 's/.*127\.0\.0\.1:\([0-9]*\) .*"containerd".*/\1/p' | head -1)
		exec 3<>"/dev/tcp/127.0.0.1/$port"
		printf 'GET /exec/none HTTP/1.0\r\n\r\n' >&3
		cat <&3`)
}
