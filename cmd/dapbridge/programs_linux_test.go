package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

const testVersion = "v0.1.0-test"

// program is dapbridge as a user has it.
type program struct {
	argv []string // how it is run
	dir  string   // where it and its agents are
	home string   // of a user who runs nothing else
	env  []string // with what builds its agents in PATH, if something has to
}

// newProgram returns a program for an architecture, under an emulator if it is not this
// machine's.
func newProgram(t *testing.T, path, arch string) program {
	t.Helper()
	p := program{argv: []string{path}, dir: filepath.Dir(path), home: t.TempDir()}
	if arch != runtime.GOARCH {
		p.argv = []string{testenv.NeedsTool(t, "qemu-aarch64"), path}
	}
	return p
}

// TestEveryNode reaches nodes of both architectures with each kind of program, built for
// both.
func TestEveryNode(t *testing.T) {
	testenv.SecondTier(t)
	if runtime.GOARCH != "amd64" {
		testenv.Skipf(t, "needs amd64: the emulator is for arm64")
	}
	for _, kind := range []struct {
		name    string
		install func(t *testing.T, arch string) program
		missing func(t *testing.T, p program, n *sshNode)
	}{
		{"make build", makeBuild, func(t *testing.T, p program, n *sshNode) {
			p.checkMissing(t, n, "hint: run make build in dapbridge's source: ")
		}},
		{"go install", goInstall, checkInstallCommand},
		{"release", unpackRelease, func(t *testing.T, p program, n *sshNode) {
			p.checkMissing(t, n, "curl -fL https://github.com/dapbridge/dapbridge/releases/download/"+
				testVersion+"/dapbridge-"+testVersion+"-linux-amd64.tar.gz | tar -xzC "+p.dir)
		}},
	} {
		for _, arch := range []string{"amd64", "arm64"} {
			t.Run(kind.name+" for "+arch, func(t *testing.T) {
				p := kind.install(t, arch)
				arm64 := startNode(t, true)
				if arch == runtime.GOARCH {
					kind.missing(t, p, arm64)
				}
				p.checkReaches(t, arm64, "arm64")
				p.checkReaches(t, startNode(t, false), "amd64")
			})
		}
	}
}

// checkReaches checks that p has its agent for that architecture run on the node, and that
// the second time the agent is neither built nor uploaded.
func (p program) checkReaches(t *testing.T, n *sshNode, arch string) {
	t.Helper()
	for _, uploads := range []bool{true, false} {
		status, out := p.run(t, n, "ps")
		if status != 0 {
			t.Fatalf("ps on linux/%s: exit status %d:\n%s", arch, status, out)
		}
		if strings.Contains(out, "uploading the agent") != uploads || !uploads && strings.Contains(out, "building") {
			t.Errorf("ps on linux/%s, with the agent already there: %v:\n%s", arch, !uploads, out)
		}
	}
	testenv.Equal(t, "the newest agent's architecture", n.agent(t), arch)
}

// checkMissing takes p's agent for arm64 away, and checks that the node is not blamed for
// that, and what the user is told to do.
func (p program) checkMissing(t *testing.T, n *sshNode, hint string) {
	t.Helper()
	agent := filepath.Join(p.dir, "dapbridge-linux-arm64")
	if err := os.Rename(agent, agent+".away"); err != nil {
		t.Fatal(err)
	}
	status, out := p.run(t, n, "ps")
	if status != 5 || !strings.Contains(out, "there is no "+agent) || !strings.Contains(out, hint) {
		t.Errorf("without the agent: exit status %d, want 5, that %s is missing, and %q:\n%s", status, agent, hint, out)
	}
	if err := os.Rename(agent+".away", agent); err != nil {
		t.Fatal(err)
	}
}

// checkInstallCommand checks what a program says that finds no go command, and that the
// command in the hint is what it lacks.
func checkInstallCommand(t *testing.T, p program, n *sshNode) {
	q := p
	q.env = append(p.env, "PATH="+t.TempDir())
	status, out := q.run(t, n, "ps")
	_, hint, _ := strings.Cut(out, "hint: run ")
	command, _, found := strings.Cut(hint, " with Go ")
	if status != 5 || !found {
		t.Fatalf("without Go: exit status %d, want 5 and a command:\n%s", status, out)
	}
	install := exec.Command("sh", "-c", command)
	install.Env = p.environ()
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if status, out := q.run(t, n, "ps"); status != 0 {
		t.Errorf("after %s: exit status %d:\n%s", command, status, out)
	}
	if err := os.RemoveAll(filepath.Join(p.dir, "linux_arm64")); err != nil {
		t.Fatal(err)
	}
}

// environ returns the environment of p's user.
func (p program) environ() []string {
	return append([]string{"HOME=" + p.home, "PATH=/nonexistent"}, p.env...)
}

// run runs a command on a node, and returns its exit status and output.
func (p program) run(t *testing.T, n *sshNode, command string) (status int, out string) {
	t.Helper()
	testenv.WriteFile(t, filepath.Join(p.home, ".ssh/known_hosts"), n.knownHosts)
	argv := append(p.argv, command, "--node", "ssh://root@"+n.addr, "--identity", n.identity, "--log-level", "info")
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = p.environ()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// runMake runs make in this checkout.
func runMake(t *testing.T, arch string, args ...string) {
	t.Helper()
	cmd := exec.Command(testenv.NeedsTool(t, "make"), append([]string{"-C", "../.."}, args...)...)
	cmd.Env = append(os.Environ(), "GOARCH="+arch, "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
}

func makeBuild(t *testing.T, arch string) program {
	t.Helper()
	dir := t.TempDir()
	runMake(t, arch, "build", "BIN="+dir)
	return newProgram(t, filepath.Join(dir, "dapbridge"), arch)
}

func unpackRelease(t *testing.T, arch string) program {
	t.Helper()
	dist, dir := t.TempDir(), t.TempDir()
	runMake(t, arch, "release", "RELEASE="+testVersion, "DIST="+dist, "PLATFORMS=linux/"+arch)
	archive := filepath.Join(dist, "dapbridge-"+testVersion+"-linux-"+arch+".tar.gz")
	if out, err := exec.Command("tar", "-xzf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return newProgram(t, filepath.Join(dir, "dapbridge"), arch)
}

// goInstall installs the program from a proxy that has this checkout as a version. The
// proxy for everything else is what the go command has downloaded, then the user's.
func goInstall(t *testing.T, arch string) program {
	t.Helper()
	dir := t.TempDir()
	const name = "github.com/dapbridge/dapbridge"
	publish(t, filepath.Join(dir, "proxy"), name)
	env := []string{
		"GOPATH=" + dir, "GOBIN=", "GOWORK=off", "GOTOOLCHAIN=local", "GONOSUMDB=" + name, "GOFLAGS=-modcacherw",
		"GOPROXY=file://" + filepath.Join(dir, "proxy") + ",file://" + filepath.Join(goEnv(t, "GOMODCACHE"), "cache/download") + "," + goEnv(t, "GOPROXY"),
		"GOCACHE=" + goEnv(t, "GOCACHE"), "PATH=" + os.Getenv("PATH"),
	}
	cmd := exec.Command("go", "install", name+"/cmd/dapbridge@"+testVersion)
	cmd.Env = append(append(os.Environ(), env...), "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(dir, "bin/dapbridge")
	if arch != runtime.GOARCH {
		path = filepath.Join(dir, "bin/linux_"+arch, "dapbridge")
	}
	p := newProgram(t, path, arch)
	p.env = env
	return p
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// publish makes a proxy of which the only module is this checkout (go.dev/ref/mod, "GOPROXY
// protocol").
func publish(t *testing.T, dir, name string) {
	t.Helper()
	const root = "../.."
	out, err := exec.Command("git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		testenv.Skipf(t, "needs a git checkout: %v", err)
	}
	var files []zip.File
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		if _, err := os.Lstat(filepath.Join(root, path)); err == nil {
			files = append(files, checkoutFile{root, path})
		}
	}
	at := filepath.Join(dir, name, "@v", testVersion)
	testenv.WriteFile(t, filepath.Join(filepath.Dir(at), "list"), testVersion+"\n")
	testenv.WriteFile(t, at+".info", `{"Version":"`+testVersion+`"}`)
	testenv.WriteFile(t, at+".mod", testenv.ReadFile(t, filepath.Join(root, "go.mod")))
	f, err := os.Create(at + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(zip.Create(f, module.Version{Path: name, Version: testVersion}, files), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// checkoutFile implements [zip.File].
type checkoutFile struct{ root, path string }

func (f checkoutFile) Path() string                 { return f.path }
func (f checkoutFile) Lstat() (fs.FileInfo, error)  { return os.Lstat(filepath.Join(f.root, f.path)) }
func (f checkoutFile) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(f.root, f.path)) }
