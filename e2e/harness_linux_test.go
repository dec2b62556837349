// Package e2e tests dapbridge as its users run it: the built program, as an
// ordinary user, against a real node with a real containerd and kubelet.
package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// userUID is the ordinary user that dapbridge runs as; otherUID is another one.
const (
	userUID  = 65534
	otherUID = 65533
)

// fixture is what all tests share: the program, the node, and the directories of the
// user. The first test that needs it creates it.
type fixture struct {
	dir     string // world-readable, removed at the end
	bin     string // dapbridge, static
	under   string // an emulator that runs it; "" for none
	home    string // the user's
	cache   string // the user's, kept from run to run: builds of symbols take minutes
	modules string // the user's module cache: in cache, but see emptyModules
	source  string // the user's copy of containerd's source
	node    *testbed.Node
}

var shared struct {
	once sync.Once
	fixture
	err error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if shared.node != nil {
		if err := shared.node.Down(); err != nil {
			fmt.Fprintln(os.Stderr, "taking the node down:", err)
			status = 1
		}
	}
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(status)
}

// setupAll is setup for a test of the second tier.
func setupAll(t testing.TB) *fixture {
	t.Helper()
	testenv.SecondTier(t)
	return setup(t)
}

// setup returns the shared fixture. A node needs root: without, the test is skipped, or
// fails in CI. The node has a kubelet only if the tests of the second tier run;
// otherwise a small CRI client creates its pods by the same calls.
func setup(t testing.TB) *fixture {
	t.Helper()
	testenv.NeedsRoot(t, "it boots a node (sudo make test)")
	shared.once.Do(func() { shared.err = shared.make() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	began := time.Now()
	t.Cleanup(func() {
		if t.Failed() {
			shared.logUnits(t, began)
		}
	})
	return &shared.fixture
}

// logUnits logs the journal entries of containerd and kubelet since a time: their starts
// and exits, and the last entries above level info.
func (f *fixture) logUnits(t testing.TB, since time.Time) {
	const script = `for u in containerd kubelet; do
journalctl -o short-precise -q --no-pager --since=@$0 -u $u | grep -v -e level=info -e ' I[0-9]* ' | tail -n 60
done`
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := f.node.Exec(ctx, "sh", "-c", script, fmt.Sprint(since.Unix()))
	t.Logf("the node's journal of containerd and kubelet (%v):\n%s", err, out)
}

func (f *fixture) make() (err error) {
	if f.dir, err = os.MkdirTemp("", "dapbridge-e2e-"); err != nil {
		return err
	}
	if err := os.Chmod(f.dir, 0o755); err != nil {
		return err
	}
	f.bin, f.home, f.source = filepath.Join(f.dir, "dapbridge"), filepath.Join(f.dir, "home"), filepath.Join(f.dir, "src", "containerd")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", f.bin, "../cmd/dapbridge")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build dapbridge: %w\n%s", err, out)
	}
	if err := os.Mkdir(f.home, 0o700); err != nil {
		return err
	}
	if err := os.Chown(f.home, userUID, userUID); err != nil {
		return err
	}
	if err := f.makeCache(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	// A killed run of the tests leaves its node behind.
	if err := testbed.Down(ctx, testbed.DefaultState, nodeName(), func(string, ...any) {}); err != nil {
		return err
	}
	f.node, err = testbed.Up(ctx, testbed.Options{Name: nodeName(), Owner: userUID, NoKubelet: !testenv.All(), Log: os.Stderr})
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Dir(f.source), 0o755); err != nil {
		return err
	}
	return f.node.UserSource(ctx, testbed.Make, f.source, userUID)
}

// makeCache creates the cache directory of the user, who has no access to root's, and
// removes the symbols that an earlier run left there.
func (f *fixture) makeCache() error {
	f.cache, f.modules = filepath.Join(testbed.UserCache, nodeName()), testbed.UserModules()
	if err := os.MkdirAll(f.cache, 0o755); err != nil {
		return err
	}
	if err := os.Chown(f.cache, userUID, userUID); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(f.cache, "dapbridge", "twins", "kept"))
}

// The build caches of the user, below XDG_CACHE_HOME.
const (
	goCache    = "go-build"
	twinsCache = "dapbridge/twins/gocache"
)

// shareBuildCache copies the compiled packages of a flavour of containerd into a build
// cache of the user, so that a build that has packages in common with it takes less
// time.
func (f *fixture) shareBuildCache(t testing.TB, flavour, cache string) {
	t.Helper()
	dir := f.cache
	for name := range strings.SplitSeq(cache, "/") {
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			t.Fatal(err)
		}
		if err := os.Chown(dir, userUID, userUID); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.node.ShareBuildCache(t.Context(), flavour, dir, userUID); err != nil {
		t.Fatal(err)
	}
}

// nodeName returns the name of the shared node. With different names, several runs of
// the tests can share a machine.
func nodeName() string {
	if name := os.Getenv("DAPBRIDGE_E2E_NODE"); name != "" {
		return name
	}
	return "dapbridge-e2e"
}

// file returns a path in the user's copy of containerd's source.
func (f *fixture) file(name string) string { return filepath.Join(f.source, name) }

// command prepares dapbridge to run as a user whose environment has only a home, caches
// and MINIKUBE_HOME.
func (f *fixture) command(ctx context.Context, uid uint32, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, f.bin, args...)
	if f.under != "" {
		cmd = exec.CommandContext(ctx, f.under, append([]string{f.bin}, args...)...)
	}
	cmd.Dir = f.source
	cmd.Env = []string{
		"HOME=" + f.home, "PATH=" + os.Getenv("PATH"), "MINIKUBE_HOME=" + f.node.MinikubeHome(),
		"XDG_CACHE_HOME=" + f.cache, "GOMODCACHE=" + f.modules,
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// nodeArgs returns the flags that select the shared node.
func (f *fixture) nodeArgs() []string { return []string{"--node", "minikube:" + f.node.Name()} }

// server is a running `dapbridge serve`.
type server struct {
	cmd    *exec.Cmd
	addr   string // as --listen has it
	target int    // its pid on the node

	warnings []string // about the target
	log      *testenv.Buffer
	ended    chan struct{}
	err      error // once ended
}

// ready is the output of `dapbridge serve -o json`.
type ready struct {
	Listen string   `json:"listen"`
	Paths  []string `json:"paths"`

	Warnings []string `json:"warnings"`
	Target   struct {
		PID int `json:"pid"`
	} `json:"target"`
}

// serve starts dapbridge on the node and waits until it listens. At the end of the test
// it gets SIGTERM, and must exit with status 0.
func (f *fixture) serve(t testing.TB, args ...string) *server {
	t.Helper()
	return f.serveNode(t, append(f.nodeArgs(), args...)...)
}

// serveNode is serve with the caller's own --node.
func (f *fixture) serveNode(t testing.TB, args ...string) *server {
	t.Helper()
	return f.serveEnv(t, nil, args...)
}

// serveEnv is serveNode with additional environment variables.
func (f *fixture) serveEnv(t testing.TB, env []string, args ...string) *server {
	t.Helper()
	args = append([]string{"serve", "-o", "json", "--listen", "127.0.0.1:0", "--log-level", "debug"}, args...)
	s := &server{cmd: f.command(context.Background(), userUID, args...), log: &testenv.Buffer{}, ended: make(chan struct{})}
	s.cmd.Env = append(s.cmd.Env, env...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make(chan []byte, 1)
	go func() {
		defer close(s.ended)
		r := bufio.NewReader(out)
		line, _ := r.ReadBytes('\n')
		first <- line
		io.Copy(io.Discard, r)
		s.err = s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.stop(t)
		if t.Failed() {
			t.Logf("the log of dapbridge serve:\n%s", s.log)
		}
	})
	var r ready
	defer time.AfterFunc(15*time.Minute, func() { s.cmd.Process.Kill() }).Stop()
	if err := json.Unmarshal(<-first, &r); err != nil {
		<-s.ended
		t.Fatalf("dapbridge %s: %v\n%s", strings.Join(args, " "), s.err, s.log)
	}
	s.addr, s.target, s.warnings = r.Listen, r.Target.PID, r.Warnings
	return s
}

// stop ends the server as Ctrl-C does.
func (s *server) stop(t testing.TB) {
	t.Helper()
	select {
	case <-s.ended:
		return
	default:
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		if s.err != nil {
			t.Errorf("dapbridge serve, ended by SIGTERM: %v", s.err)
		}
	case <-time.After(60 * time.Second):
		s.kill()
		t.Error("dapbridge serve did not end within 60 s of SIGTERM")
	}
}

// kill ends the server as the OOM killer does.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.ended
}

// dial connects as an IDE of the user.
func (s *server) dial(t testing.TB) *dapclient.Client {
	t.Helper()
	conn, err := dialAs(userUID, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := dapclient.New(conn)
	t.Cleanup(func() {
		c.Close()
		if t.Failed() {
			t.Logf("the debug console:\n%s", c.Output())
		}
	})
	return c
}

// dialAs opens a TCP connection whose socket belongs to uid, as if a process of that
// user had opened it: a socket belongs to the fsuid of the thread that creates it
// (socket(7), /proc/net/tcp).
func dialAs(uid int, addr string) (net.Conn, error) { return dialNetAs(uid, "tcp", addr) }

// dialNetAs is dialAs for any network. A unix socket is opened with the permissions of
// that user too, but its peer sees the credentials of the process (unix(7)).
func dialNetAs(uid int, network, addr string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	syscall.Setfsuid(uid)
	defer syscall.Setfsuid(os.Getuid())
	return net.Dial(network, addr)
}

// short returns a context with a deadline for tests that wait for a debugger or a node.
func short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
