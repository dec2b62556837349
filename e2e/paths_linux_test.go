package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestPathsCommand prints the path map of the node's containerd, and one file of it by
// its host path and its node path.
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
	var p source.Paths
	paths(&p)
	testenv.Equal(t, "problem", p.Problem, "")
	testenv.Equal(t, "pid", p.Target.PID, f.containerd(t))
	if p.Files < 3000 || p.OnHost < p.Files-10 {
		t.Errorf("%d of %d files are on the host", p.OnHost, p.Files)
	}
	for _, asked := range []string{createContainerFile + ":60", f.file(createContainerFile) + ":60"} {
		var here, there source.FilePath
		paths(&here, asked)
		paths(&there, here.Node)
		if !here.OnHost || !here.InTarget || here.Line != 60 || here.Host != f.file(createContainerFile) {
			t.Errorf("%s: %+v", asked, here)
		}
		if there.Host != here.Host || there.Node != here.Node || !there.InTarget {
			t.Errorf("%s: %+v", here.Node, there)
		}
	}
}

// spot is a line in some part of containerd's source, and a way to make containerd
// execute it.
type spot struct {
	file string // on the host
	code string // that the line holds
	run  func(context.Context) (said []byte, err error)
}

// TestPathsInEveryPart sets breakpoints in the main module, a dependency and the
// standard library of containerds that were built in different ways, by host paths and
// without --map: each is verified and hit, and the files of all frames exist on the
// host.
func TestPathsInEveryPart(t *testing.T) {
	testenv.SecondTier(t)
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
				{filepath.Join(root, create), createContainerCode, f.createContainer},
				{filepath.Join(root, tasks), "container, err := l.getContainer(ctx, r.ContainerID)", f.createContainer},
				{filepath.Join(root, "vendor/google.golang.org/grpc/server.go"), "ctx := stream.Context()", f.createContainer},
				{filepath.Join(goEnv(t, "GOROOT"), "src/net/http/server.go"), "handler := sh.srv.Handler", f.requestStreamingServer},
			} {
				checkHit(t, c, s)
			}
		})
	}
}

// checkHit checks that a breakpoint at the spot is verified and hit.
func checkHit(t *testing.T, c *dapclient.Client, s spot) {
	t.Helper()
	ctx := short(t)
	line := lineIn(t, s.file, s.code)
	bps, err := c.SetBreakpoints(ctx, s.file, []int{line})
	if err != nil {
		t.Fatal(err)
	}
	checkVerified(t, bps, s.file, 0)
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
	if err != nil {
		t.Fatal(err)
	}
	checkTop(t, frames, s.file, line)
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

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// createContainer has containerd run a pod with a container.
func (f *fixture) createContainer(ctx context.Context) ([]byte, error) {
	return f.node.Exec(ctx, "criload", "-timeout=60s", "create", podName())
}

// requestStreamingServer sends a request to containerd's HTTP server for exec and
// attach, which listens on a loopback port of the node.
func (f *fixture) requestStreamingServer(ctx context.Context) ([]byte, error) {
	return f.node.Exec(ctx, "bash", "-c", `
		port=$(ss -Hltnp | sed -n 's/.*127\.0\.0\.1:\([0-9]*\) .*"containerd".*/\1/p' | head -1)
		exec 3<>"/dev/tcp/127.0.0.1/$port"
		printf 'GET /exec/none HTTP/1.0\r\n\r\n' >&3
		cat <&3`)
}

// TestFetchesWhatTheHostLacks debugs with a workspace without vendor and an empty module
// cache. Modules in go.sum are fetched from a proxy that has one of them, and
// breakpoints in that module work; for the others the debug console says that their
// source comes from the node.
func TestFetchesWhatTheHostLacks(t *testing.T) {
	const grpc = "google.golang.org/grpc"
	f := setupAll(t)
	root := filepath.Join(f.dir, "unvendored", "containerd")
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := f.node.UserSource(t.Context(), testbed.Make, root, userUID); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "vendor")); err != nil {
		t.Fatal(err)
	}
	version := requiredVersion(t, root, grpc)
	f.emptyModules(t)
	f.useProxy(t, proxyOf(t, f, grpc, version))
	c := f.serve(t, "--root", root).dial(t)
	if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"fetched the source of " + grpc + "@" + version, "could not be fetched and comes from the node"} {
		if _, err := c.WaitEvent(short(t), "output", func(b json.RawMessage) bool { return strings.Contains(string(b), want) }); err != nil {
			t.Fatalf("%q: %v", want, err)
		}
	}
	server := filepath.Join(f.modules, grpc+"@"+version, "server.go")
	line := lineIn(t, server, "ctx := stream.Context()")
	bps, err := c.SetBreakpoints(short(t), server, []int{line})
	if err != nil {
		t.Fatal(err)
	}
	checkVerified(t, bps, server, 0)
	go f.createContainer(t.Context())
	stop, err := c.WaitStopped(short(t))
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err := c.StackTrace(short(t), stop.ThreadId, 0, 20)
	if err != nil {
		t.Fatal(err)
	}
	checkTop(t, frames, server, line)
	testenv.Equal(t, "sourceReference", frames[0].Source.SourceReference, 0)
}

// requiredVersion returns the version of a module that a go.mod requires.
func requiredVersion(t *testing.T, root, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if r.Mod.Path == path {
			return r.Mod.Version
		}
	}
	t.Fatalf("%s requires no %s", root, path)
	return ""
}

// proxyOf makes a module proxy directory (go.dev/ref/mod, GOPROXY protocol) with one
// module from the downloads of the go command.
func proxyOf(t *testing.T, f *fixture, path, version string) string {
	t.Helper()
	from := filepath.Join(goEnv(t, "GOMODCACHE"), "cache/download", path, "@v")
	proxy := filepath.Join(f.dir, "proxy")
	to := filepath.Join(proxy, path, "@v")
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{".info", ".mod", ".zip"} {
		data, err := os.ReadFile(filepath.Join(from, version+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, version+suffix), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proxy
}

// useProxy sets the user's go env until the test ends.
func (f *fixture) useProxy(t *testing.T, proxy string) {
	t.Helper()
	config := filepath.Join(f.home, ".config/go")
	if err := os.MkdirAll(config, 0o755); err != nil {
		t.Fatal(err)
	}
	env := "GOPROXY=file://" + proxy + ",direct\nGOSUMDB=off\nGOFLAGS=-modcacherw\n"
	if err := os.WriteFile(filepath.Join(config, "env"), []byte(env), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(config); err != nil {
			t.Error(err)
		}
	})
}

// emptyModules gives the user an empty module cache until the test ends.
func (f *fixture) emptyModules(t *testing.T) {
	t.Helper()
	kept := f.modules
	f.modules = filepath.Join(f.home, "modules")
	if err := os.Mkdir(f.modules, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(f.modules, userUID, userUID); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(f.modules); err != nil {
			t.Error(err)
		}
		f.modules = kept
	})
}
