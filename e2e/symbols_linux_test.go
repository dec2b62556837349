package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// built is the output of `dapbridge symbols -o json`.
type built struct {
	Target struct {
		PID int `json:"pid"`
	} `json:"target"`
	Kept struct {
		Size   int64 `json:"size"`
		GoOnly bool  `json:"goOnly"`
		Times  struct {
			Sources, Build, Proof time.Duration
		} `json:"times"`
	} `json:"kept"`
	Built bool          `json:"built"`
	Sent  bool          `json:"sent"`
	Send  time.Duration `json:"send"`
}

// symbols runs dapbridge symbols as the user and returns its report.
func (f *fixture) symbols(t testing.TB, args ...string) built {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := f.command(ctx, userUID, append(append([]string{"symbols", "-o", "json"}, f.nodeArgs()...), args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("dapbridge symbols: %v\n%s", err, &said)
	}
	var b built
	if err := json.Unmarshal(out.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStripped debugs the stripped containerd of the node with the symbols of its twin,
// which the user builds in another directory than the original was built in.
func TestStripped(t *testing.T) {
	f := setupAll(t)
	f.use(t, testbed.Stripped)
	pid := f.containerd(t)
	before := f.executable(t, pid)

	s := f.serve(t)
	line := f.lineOf(t, createContainerFile, createContainerCode)
	c := s.dial(t)
	_, err := c.Attach(short(t), dapclient.AttachOptions{Args: map[string]any{"symbols": "refuse"}})
	if err == nil || !strings.Contains(err.Error(), "dapbridge symbols") {
		t.Fatalf("before the symbols are built: %v", err)
	}
	c.Close()

	b := f.symbols(t, f.source)
	testenv.Equal(t, "built", b.Built, true)
	testenv.Equal(t, "sent", b.Sent, true)
	testenv.Equal(t, "pid", b.Target.PID, pid)
	if b.Kept.Size > 60<<20 {
		t.Errorf("the symbols have %d bytes", b.Kept.Size)
	}
	t.Logf("source %v, build %v, proof %v, %d bytes sent in %v", b.Kept.Times.Sources, b.Kept.Times.Build, b.Kept.Times.Proof, b.Kept.Size, b.Send)
	if again := f.symbols(t, f.source); again.Built || again.Sent {
		t.Errorf("the second time: %+v", again)
	}

	f.checkStoppedInStripped(t, s, line)
	if after := f.executable(t, pid); after != before {
		t.Errorf("containerd's executable was %s and is %s", before, after)
	}
	f.waitFree(t, pid, 5*time.Second)
}

// TestStrippedByClang debugs a stripped containerd whose C code another compiler has
// compiled than the one that the user has.
func TestStrippedByClang(t *testing.T) {
	f := setupAll(t)
	f.use(t, testbed.Clang)
	pid := f.containerd(t)
	before := f.executable(t, pid)
	b := f.symbols(t, f.source)
	testenv.Equal(t, "Go part alone", b.Kept.GoOnly, true)
	t.Logf("source %v, build %v, proof %v, %d bytes sent in %v", b.Kept.Times.Sources, b.Kept.Times.Build, b.Kept.Times.Proof, b.Kept.Size, b.Send)
	s := f.serve(t)
	f.checkStoppedInStripped(t, s, f.lineOf(t, createContainerFile, createContainerCode))
	if after := f.executable(t, pid); after != before {
		t.Errorf("containerd's executable was %s and is %s", before, after)
	}
	f.waitFree(t, pid, 5*time.Second)
}

// TestStrippedWithoutTwin debugs the stripped containerd of the node without symbols: by
// its function table.
func TestStrippedWithoutTwin(t *testing.T) {
	const function = "github.com/containerd/containerd/v2/internal/cri/server.(*criService).CreateContainer"
	f := setupAll(t)
	f.use(t, testbed.Stripped)
	pid := f.containerd(t)
	before := f.executable(t, pid)
	s := f.serveEnv(t, []string{"XDG_CACHE_HOME=" + filepath.Join(f.home, "without-twin")}, f.nodeArgs()...)
	file, line := f.file(createContainerFile), f.lineOf(t, createContainerFile, createContainerCode)
	ctx := short(t)
	c := s.dial(t)
	verified, err := c.Attach(ctx, dapclient.AttachOptions{Breakpoints: map[string][]int{file: {line}}, Functions: []string{function}})
	if err != nil {
		t.Fatal(err)
	}
	checkVerified(t, verified[file], file, line)
	checkVerified(t, verified[function], file, 0)
	pod := f.startPod(t)

	stop, err := c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	checkRawArguments(ctx, t, c, stop.ThreadId)
	if err := c.Continue(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	if stop, err = c.WaitStopped(ctx); err != nil {
		t.Fatal(err)
	}
	frames, total, err := c.StackTrace(ctx, stop.ThreadId, 0, 50)
	if err != nil {
		t.Fatal(err)
	}
	checkStack(t, f, frames, total, line)
	if threads, err := c.Threads(ctx); err != nil || len(threads) < 20 {
		t.Errorf("%d goroutines, %v", len(threads), err)
	}
	if value, _, err := c.Evaluate(ctx, frames[0].Id, "r.SandboxConfig", "watch"); err == nil || !strings.Contains(err.Error(), "no debug information, so no variables: run dapbridge symbols") {
		t.Errorf("a variable is %s, %v", value, err)
	}
	if !strings.Contains(c.Output(), "containerd is stripped, and its symbols have not been built") {
		t.Errorf("the console does not say what is missing:\n%s", c.Output())
	}
	if err := c.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
	f.waitPod(t, pod)
	if after := f.executable(t, pid); after != before {
		t.Errorf("containerd was %s and is %s", before, after)
	}
	f.waitFree(t, pid, 5*time.Second)
}

// checkRawArguments checks that the top frame shows the words of its arguments: the first
// one of a method is its receiver.
func checkRawArguments(ctx context.Context, t *testing.T, c *dapclient.Client, thread int) {
	t.Helper()
	frames, _, err := c.StackTrace(ctx, thread, 0, 1)
	if err != nil || len(frames) != 1 || !strings.HasSuffix(frames[0].Name, "(*criService).CreateContainer") {
		t.Fatalf("stopped in %+v, %v", frames, err)
	}
	scopes, err := c.Scopes(ctx, frames[0].Id)
	if err != nil || len(scopes) == 0 {
		t.Fatalf("scopes %+v, %v", scopes, err)
	}
	vars, err := c.Variables(ctx, scopes[0].VariablesReference)
	if err != nil || len(vars) < 5 || vars[0].Name != "RAX" || strings.HasPrefix(vars[0].Value, "0 ") {
		t.Errorf("the words of the arguments are %+v, %v; want the address of the receiver first", vars, err)
	}
}

// TestStrippedTrimmed debugs a containerd that contains no directories: a published
// version, built with -trimpath and without cgo.
func TestStrippedTrimmed(t *testing.T) {
	f := setupAll(t)
	f.use(t, testbed.Trimmed)
	pid := f.containerd(t)
	before := f.executable(t, pid)
	f.shareBuildCache(t, testbed.Trimmed, twinsCache)
	b := f.symbols(t, f.home) // no source of the user's is needed to build it
	t.Logf("source %v, build %v, proof %v, %d bytes sent in %v", b.Kept.Times.Sources, b.Kept.Times.Build, b.Kept.Times.Proof, b.Kept.Size, b.Send)
	s := f.serve(t)
	f.checkStoppedInStripped(t, s, f.lineOf(t, createContainerFile, createContainerCode))
	if after := f.executable(t, pid); after != before {
		t.Errorf("containerd's executable was %s and is %s", before, after)
	}
	f.waitFree(t, pid, 5*time.Second)
}

// TestStrippedKubelet debugs a stripped kubelet, whose build information lacks the
// version that the linker has set.
func TestStrippedKubelet(t *testing.T) {
	const file, code = "pkg/kubelet/kubelet.go", "logger := klog.FromContext(ctx)"
	f := setupAll(t)
	source := f.kubernetes(t, file)
	pid := f.stripKubelet(t)
	before := f.executable(t, pid)
	f.shareBuildCache(t, testbed.Trimmed, twinsCache)
	b := f.symbols(t, "--target", "kubelet", source)
	t.Logf("source %v, build %v, proof %v, %d bytes sent in %v", b.Kept.Times.Sources, b.Kept.Times.Build, b.Kept.Times.Proof, b.Kept.Size, b.Send)

	s := f.serve(t, "--target", "kubelet", "--root", source)
	c := s.dial(t)
	ctx := short(t)
	name := filepath.Join(source, file)
	line := f.lineAfter(t, name, "func (kl *Kubelet) SyncPod(", code)
	verified, err := c.Attach(ctx, dapclient.AttachOptions{Breakpoints: map[string][]int{name: {line}}})
	if err != nil {
		t.Fatal(err)
	}
	checkVerified(t, verified[name], name, line)
	pod := f.startPod(t)
	stop, err := c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, total, err := c.StackTrace(ctx, stop.ThreadId, 0, 20)
	if err != nil || total < 3 {
		t.Fatalf("the stack of %d frames: %v", total, err)
	}
	checkTop(t, frames, name, line)
	if got, _, err := c.Evaluate(ctx, frames[0].Id, "pod.ObjectMeta.Name", "watch"); err != nil || !strings.HasPrefix(got, `"`+pod) {
		t.Errorf("the pod's name is %s (%v), want %s", got, err, pod)
	}
	if err := c.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
	f.waitPod(t, pod)
	if after := f.executable(t, pid); after != before {
		t.Errorf("kubelet's executable was %s and is %s", before, after)
	}
	eventually(t, 5*time.Second, func() string { return f.whyHeld(pid) })
}

// kubernetes creates the part of Kubernetes' source that a breakpoint needs: go.mod and
// the file.
func (f *fixture) kubernetes(t *testing.T, file string) (dir string) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(strings.TrimSpace(string(out)), "k8s.io/kubernetes@"+testbed.KubernetesVersion)
	dir = filepath.Join(f.dir, "src", "kubernetes")
	for _, name := range []string{"go.mod", file} {
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(testenv.ReadFile(t, filepath.Join(from, name))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stripKubelet runs the node's kubelet without symbols until the test ends, and returns
// its pid there.
func (f *fixture) stripKubelet(t *testing.T) (pid int) {
	t.Helper()
	bin := filepath.Join(f.node.RootFS(), "usr/bin/kubelet")
	stripped := filepath.Join(t.TempDir(), "kubelet")
	if out, err := exec.Command("strip", "-o", stripped, bin).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const restart = "mv /usr/bin/kubelet.next /usr/bin/kubelet; systemctl restart kubelet"
	if out, err := exec.Command("cp", bin, bin+".whole").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("cp", stripped, bin+".next").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f.root(t, restart)
	t.Cleanup(func() { f.root(t, "mv /usr/bin/kubelet.whole /usr/bin/kubelet.next; "+restart) })
	eventually(t, time.Minute, func() string {
		out, err := f.node.Exec(t.Context(), "systemctl", "show", "--property=MainPID", "--value", "kubelet")
		if err != nil {
			return err.Error()
		}
		pid, _ = strconv.Atoi(strings.TrimSpace(string(out)))
		exe, err := os.Readlink(filepath.Join(f.node.RootFS(), "proc", strconv.Itoa(pid), "exe"))
		if err != nil || !strings.HasSuffix(exe, "/usr/bin/kubelet") {
			return fmt.Sprintf("kubelet's pid %d runs %s (%v)", pid, exe, err)
		}
		return ""
	})
	return pid
}

// lineAfter returns the number of the first line with the code after a line with the
// mark.
func (f *fixture) lineAfter(t *testing.T, file, mark, code string) int {
	t.Helper()
	text := testenv.ReadFile(t, file)
	at := strings.Index(text, mark)
	if at >= 0 {
		if more := strings.Index(text[at:], code); more >= 0 {
			return 1 + strings.Count(text[:at+more], "\n")
		}
	}
	t.Fatalf("no %q after %q in %s", code, mark, file)
	return 0
}

// checkStoppedInStripped stops a session in CreateContainer, and checks stack and
// variables.
func (f *fixture) checkStoppedInStripped(t *testing.T, s *server, line int) {
	t.Helper()
	ctx := short(t)
	c := s.dial(t)
	pod, stop := stopInCreateContainer(t, f, c, line)
	frames, total, err := c.StackTrace(ctx, stop.ThreadId, 0, 50)
	if err != nil {
		t.Fatal(err)
	}
	checkStack(t, f, frames, total, line)
	dependency := slices.ContainsFunc(frames, func(fr dap.StackFrame) bool {
		return fr.Source != nil && strings.Contains(fr.Source.Path, "google.golang.org/grpc") && fr.Line > 0
	})
	if !dependency {
		t.Errorf("no frame of a dependency in %+v", frames)
	}
	if name, _, err := c.Evaluate(ctx, frames[0].Id, "r.SandboxConfig.Metadata.Name", "watch"); err != nil || !strings.HasPrefix(name, `"`+pod) {
		t.Errorf("the pod's name in the request is %s (%v), want %s", name, err, pod)
	}
	if !strings.Contains(c.Output(), "built for speed") {
		t.Errorf("the console does not say what optimised code means:\n%s", c.Output())
	}
	if err := c.Continue(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	f.waitPod(t, pod)
	if err := c.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
}

// executable describes the file that the process runs: path, size, times and inode.
func (f *fixture) executable(t *testing.T, pid int) string {
	t.Helper()
	out, err := f.node.Exec(t.Context(), "sh", "-c", "readlink /proc/$1/exe; stat -L -c '%i %s %Y %Z' /proc/$1/exe; systemctl show --property=MainPID,ExecMainStartTimestamp containerd kubelet", "sh", strconv.Itoa(pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// sampleTree is a program with a vendored dependency.
func sampleTree() map[string]string {
	return map[string]string{
		"go.mod":                        "module example.com/sampled\n\ngo 1.26.0\n\nrequire example.com/dep v1.0.0\n",
		"vendor/modules.txt":            "# example.com/dep v1.0.0\n## explicit; go 1.21\nexample.com/dep\n",
		"vendor/example.com/dep/go.mod": "module example.com/dep\n\ngo 1.21\n",
		"vendor/example.com/dep/dep.go": "package dep\n\n//go:noinline\nfunc Twice(n int) int {\n\treturn 2 * n\n}\n",
		"main.go": "package main\n\nimport (\n\t\"time\"\n\n\t\"example.com/dep\"\n)\n\nfunc main() {\n\tfor i := 0; ; i++ {\n\t\ttick(i)\n" +
			"\t\ttime.Sleep(20 * time.Millisecond)\n\t}\n}\n\n//go:noinline\nfunc tick(i int) int {\n\treturn 1 + dep.Twice(i)\n}\n",
	}
}

// sample creates the repository of the sample's author.
func (f *fixture) sample(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(f.dir, t.Name(), "there")
	for name, text := range sampleTree() {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hostGit(t, dir, "init", "--quiet", "--initial-branch=main")
	hostGit(t, dir, "add", "--all")
	hostGit(t, dir, "commit", "--quiet", "--message=first")
	hostGit(t, dir, "tag", "v1.0.0")
	return dir
}

func hostGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// install builds the sample in dir, stripped and stamped by its repository, and starts
// it on the node under the name.
func (f *fixture) install(t *testing.T, dir, name string) (pid int) {
	t.Helper()
	bin := filepath.Join(f.node.RootFS(), programs, name)
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-buildvcs=true", "-ldflags=-s -w", "-o", bin, ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "PWD="+dir)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return f.start(t, name)
}

// clone creates the user's clone of a repository.
func (f *fixture) clone(t *testing.T, there string) (here string) {
	t.Helper()
	here = filepath.Join(filepath.Dir(there), "here")
	hostGit(t, filepath.Dir(there), "clone", "--quiet", there, here)
	if out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", userUID, userUID), here).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return here
}

// TestStrippedSample debugs a stripped program that was built at an earlier commit than
// the user's; F5 builds the symbols.
func TestStrippedSample(t *testing.T) {
	f := setup(t)
	there := f.sample(t)
	pid := f.install(t, there, "sampled")
	if err := os.WriteFile(filepath.Join(there, "more.go"), []byte("package main\n\nfunc init() { println(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	hostGit(t, there, "add", "--all")
	hostGit(t, there, "commit", "--quiet", "--message=second")
	here := f.clone(t, there)

	s := f.serve(t, "--target", "sampled", "--root", here)
	c := s.dial(t)
	dep := filepath.Join(here, "vendor/example.com/dep/dep.go")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	verified, err := c.Attach(ctx, dapclient.AttachOptions{
		Args: map[string]any{"symbols": "auto"}, Breakpoints: map[string][]int{dep: {5}},
	})
	if err != nil || !verified[dep][0].Verified {
		t.Fatalf("%+v, %v", verified, err)
	}
	for _, event := range []string{"progressStart", "progressEnd"} {
		if _, err := c.WaitEvent(ctx, event, nil); err != nil {
			t.Error(err)
		}
	}
	stop, err := c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err := c.StackTrace(ctx, stop.ThreadId, 0, 5)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		file string
		line int
	}{{dep, 5}, {filepath.Join(here, "main.go"), 18}, {filepath.Join(here, "main.go"), 11}}
	for i, w := range want {
		if i >= len(frames) {
			t.Fatalf("only %d frames: %+v", len(frames), frames)
		}
		testenv.Equal(t, fmt.Sprint("place of frame ", i), placeOf(frames[i]), fmt.Sprintf("%s:%d", w.file, w.line))
	}
	if n, _, err := c.Evaluate(ctx, frames[0].Id, "n", "watch"); err != nil || n == "" {
		t.Errorf("the argument is %q, %v", n, err)
	}
	if err := c.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string { return f.whyHeld(pid) })
}

// TestSymbolsRefused gives the reason for a refusal, and leaves nothing behind.
func TestSymbolsRefused(t *testing.T) {
	f := setupAll(t)
	there := f.sample(t)
	here := f.clone(t, there)
	// symbols runs dapbridge symbols, and checks the exit status and parts of the output.
	symbols := func(name string, status int, says ...string) {
		t.Helper()
		cmd := f.command(short(t), userUID, append(append([]string{"symbols"}, f.nodeArgs()...), "--target", name, here)...)
		cmd.Env = append(cmd.Env, "GOPROXY=off")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != status {
			t.Errorf("%s: exit status %d, want %d\n%s", name, cmd.ProcessState.ExitCode(), status, out)
		}
		for _, text := range says {
			if !strings.Contains(string(out), text) {
				t.Errorf("%s: no %q in\n%s", name, text, out)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(there, "more.go"), []byte("package main\n\nfunc init() { println(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.install(t, there, "modifiedd")
	symbols("modifiedd", 4, "error: the target was built from a tree with uncommitted changes (vcs.modified=true)", "hint: ")
	hostGit(t, there, "add", "--all")
	hostGit(t, there, "commit", "--quiet", "--message=second")
	f.install(t, there, "aheadd")
	symbols("aheadd", 4, "does not contain", "a copy of the directory: the twin is not the same program", "hint: git -C "+here+" fetch")
	f.run(t, "cleand")
	symbols("cleand", 0, "nothing to do")
}

// TestSymbolsInterrupted ends a build by Ctrl-C and uploads in several ways: nothing
// remains on the host or the node, the next run succeeds, and the stored symbols can be
// removed.
func TestSymbolsInterrupted(t *testing.T) {
	f := setupAll(t)
	there := f.sample(t)
	if err := os.WriteFile(filepath.Join(there, "large.go"), largeSymbols(), 0o644); err != nil {
		t.Fatal(err)
	}
	hostGit(t, there, "add", "--all")
	hostGit(t, there, "commit", "--quiet", "--message=second")
	f.install(t, there, "interruptedd")
	i := interrupted{fixture: f, here: f.clone(t, there), cache: filepath.Join(f.home, "interrupted")}
	t.Run("building", i.building)
	for _, tt := range []struct {
		name   string
		end    func(*os.Process, *testbed.Proxy)
		status int
	}{
		{"sending, Ctrl-C", func(p *os.Process, _ *testbed.Proxy) { p.Signal(os.Interrupt) }, 130},
		{"sending, killed", func(p *os.Process, _ *testbed.Proxy) { p.Kill() }, -1},
		{"sending, cut", func(_ *os.Process, wire *testbed.Proxy) { wire.Cut() }, 3},
	} {
		t.Run(tt.name, func(t *testing.T) { i.sending(t, tt.end, tt.status) })
	}
	i.remove(t)
}

// largeSymbols is source with 6 MB of random names, which end up in the debug
// information and do not compress. When the sender ends, up to 2 MB can be in flight,
// the window of an SSH channel (OpenSSH's channels.h, CHAN_SES_WINDOW_DEFAULT): a small
// file would arrive completely.
func largeSymbols() []byte {
	random := rand.NewChaCha8([32]byte{})
	raw := make([]byte, 60)
	text := []byte("package main\n\nconst (\n")
	for range 100_000 {
		random.Read(raw)
		name := strings.ReplaceAll(base64.URLEncoding.EncodeToString(raw), "-", "_")
		text = fmt.Appendf(text, "\tn%s = 1\n", name)
	}
	return append(text, ")\n"...)
}

// interrupted is a stripped sample on the node whose symbols the user builds.
type interrupted struct {
	*fixture
	here  string // the user's clone of its source
	cache string // the user's
}

// symbols prepares dapbridge symbols, and returns the buffer for its output.
func (i interrupted) symbols(t *testing.T, args ...string) (*exec.Cmd, *testenv.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := i.command(ctx, userUID, append([]string{"symbols", "--target", "interruptedd"}, args...)...)
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+i.cache)
	said := &testenv.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	return cmd, said
}

// building ends a build by Ctrl-C.
func (i interrupted) building(t *testing.T) {
	cmd, said := i.symbols(t, append(i.nodeArgs(), i.here)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 50*time.Second, func() string {
		if !strings.Contains(said.String(), "building ...") {
			return "it has not started to build: " + said.String()
		}
		return ""
	})
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 130 {
		t.Errorf("exit status %d\n%s", status, said)
	}
	left, err := filepath.Glob(filepath.Join(i.cache, "dapbridge/twins/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		if !strings.Contains(path, "/gocache/") && !strings.HasSuffix(path, ".lock") {
			t.Errorf("%s remains", path)
		}
	}
	i.waitDeserted(t, 10*time.Second)
}

// sending ends an upload over a slow connection, and tries again over a fast one. Status
// is the exit status of the first, -1 if a signal ends it.
func (i interrupted) sending(t *testing.T, end func(*os.Process, *testbed.Proxy), status int) {
	for _, path := range i.stored(t) { // by another test
		os.RemoveAll(path)
	}
	proxy, args := i.proxy(t)
	proxy.Rate(1 << 20)
	cmd, said := i.symbols(t, append(args, i.here)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, func() string {
		for _, path := range i.stored(t) {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
				return ""
			}
		}
		return "no symbols have arrived: " + said.String()
	})
	start := time.Now()
	end(cmd.Process, proxy)
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("exit status %d, want %d\n%s", got, status, said)
	}
	proxy.Rate(0) // for what is still under way
	eventually(t, 10*time.Second, func() string {
		if left := i.stored(t); len(left) > 0 {
			return fmt.Sprintf("%v is on the node", left)
		}
		return ""
	})
	t.Logf("nothing is left after %v\n%s", time.Since(start).Round(time.Millisecond), said)
	i.waitDeserted(t, 10*time.Second)

	again, said := i.symbols(t, append(i.nodeArgs(), i.here)...)
	if err := again.Run(); err != nil || !strings.Contains(said.String(), "uploaded them to the node") {
		t.Errorf("the next time: %v\n%s", err, said)
	}
	if whole := i.stored(t); len(whole) != 2 { // a directory and its file
		t.Errorf("the next time left %v", whole)
	}
}

// stores are the directories of symbols on the node, one for each place of the agent
// (remote.UploadOptions).
func (i interrupted) stores() []string {
	return []string{
		filepath.Join(i.node.RootFS(), "var/lib/minikube/dapbridge/symbols"),
		filepath.Join(i.node.RootFS(), "var/lib/dapbridge/symbols"),
	}
}

// stored lists the files in them.
func (i interrupted) stored(t *testing.T) (paths []string) {
	t.Helper()
	for _, dir := range i.stores() {
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err == nil && path != dir {
				paths = append(paths, path)
			}
			if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
				return nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// remove removes all symbols, and checks that they are gone.
func (i interrupted) remove(t *testing.T) {
	t.Helper()
	if len(i.stored(t)) == 0 {
		t.Error("there is nothing to remove")
	}
	cmd, said := i.symbols(t, append(i.nodeArgs(), "--remove")...)
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	if _, err := os.Stat(filepath.Join(i.cache, "dapbridge/twins")); err == nil {
		t.Error("something is kept here after --remove")
	}
	for _, dir := range i.stores() {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is on the node after --remove", dir)
		}
	}
}
