package execconn_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/execconn"
	"github.com/dapbridge/dapbridge/internal/host/execconn/enginetest"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/remote/remotetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts an engine whose container "here" is this machine, and puts its
// client before all others.
func start(t *testing.T) *enginetest.Engine {
	t.Helper()
	e := enginetest.Start(t, os.Getuid(), map[string]enginetest.Container{
		"here":    {Status: "running", Command: func(argv []string) *exec.Cmd { return exec.Command(argv[0], argv[1:]...) }},
		"frozen":  {Status: "paused"},
		"stopped": {Status: "exited"},
	})
	t.Setenv("PATH", e.Dir+":"+os.Getenv("PATH"))
	return e
}

func container(engine, name string) *node.Node {
	return &node.Node{Name: engine + ":" + name, Exec: &node.Container{Engine: engine, Name: name}}
}

func dial(t *testing.T) *execconn.Conn {
	t.Helper()
	c, err := execconn.Dial(t.Context(), container("docker", "here"), time.Minute, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConn(t *testing.T) {
	start(t)
	remotetest.Run(t, func(t *testing.T) remotetest.Conn { return dial(t) })
}

// An argument that the engine can't be told as it is.
func TestArguments(t *testing.T) {
	start(t)
	c := dial(t)
	for _, arg := range []string{"\xff", "a\x00b"} {
		if _, err := c.Start(t.Context(), []string{"echo", arg}); err == nil || !strings.Contains(err.Error(), "not UTF-8 text") {
			t.Errorf("%q: %v", arg, err)
		}
	}
}

// client returns the pid of the only client that runs a command with the word.
func client(t *testing.T, e *enginetest.Engine, word string) int {
	t.Helper()
	for range 500 {
		if pids := e.Clients(word); len(pids) == 1 {
			return pids[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no client runs %q", word)
	return 0
}

// A client that is killed: the host sees it at once, and the command an end of
// its standard input.
func TestClientDies(t *testing.T) {
	e := start(t)
	c := dial(t)
	ended := filepath.Join(t.TempDir(), "ended")
	cmd, err := c.Start(t.Context(), []string{"sh", "-c", `echo here; cat >/dev/null; : >"$1"`, "sh", ended})
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Close()
	out := bufio.NewReader(cmd.Stdout)
	if line, err := out.ReadString('\n'); line != "here\n" {
		t.Fatalf("%q, %v", line, err)
	}
	pid := client(t, e, ended)
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the client is in the group %d, %v: a Ctrl-C would end it", group, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); diag.CodeOf(err) != diag.LinkLost || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("Wait: %v", err)
	}
	if _, err := out.ReadByte(); err != io.EOF {
		t.Errorf("its output: %v", err)
	}
	if _, err := cmd.Stdin.Write([]byte("x")); err != io.EOF {
		t.Errorf("its input: %v", err)
	}
	for range 500 {
		if _, err := os.Stat(ended); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the command did not end")
}

func TestDialRefuses(t *testing.T) {
	start(t)
	for _, c := range []struct {
		engine, name string
		code         diag.Code
		says, hint   string
	}{
		{"docker", "nosuch", diag.NodeUnknown, "docker has no container nosuch", "these run: here"},
		{"docker", "stopped", diag.NodeUnreachable, "does not run (it is exited)", "docker start stopped"},
		{"podman", "stopped", diag.NodeUnreachable, "does not run (it is exited)", "podman start stopped"},
		{"docker", "frozen", diag.NodeUnreachable, "is paused", "docker unpause frozen"},
	} {
		refuses(t, container(c.engine, c.name), c.code, c.says, c.hint)
	}
}

func refuses(t *testing.T, n *node.Node, code diag.Code, says, hint string) {
	t.Helper()
	_, err := execconn.Dial(t.Context(), n, time.Minute, slog.New(slog.DiscardHandler))
	var e *diag.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Summary, says) || !strings.Contains(e.Hint, hint) {
		t.Errorf("%s: %#v, want %s: …%s…, hint …%s…", n.Name, err, code, says, hint)
	}
}

// What engines say, in their own words: those of docker 20, 28 and 29 and podman
// 5, as their source has them.
func TestEngineMessages(t *testing.T) {
	for _, c := range []struct {
		engine, says string
		status       string
		code         diag.Code
		summary      string
		hint         string
	}{
		{"docker", "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/containers/x/json\": dial unix /var/run/docker.sock: connect: permission denied", "1", diag.NodeUnreachable, "you may not use docker's socket", "usermod -aG docker"},
		{"docker", "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock", "1", diag.NodeUnreachable, "you may not use docker's socket", "usermod -aG docker"},
		{"docker", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "1", diag.NodeUnreachable, "does not answer", "docker ps"},
		{"docker", "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory", "1", diag.NodeUnreachable, "does not answer", "docker ps"},
		{"docker", "Error: No such container: x", "1", diag.NodeUnknown, "docker has no container x", "docker ps"},
		{"podman", "Error: no such container x", "125", diag.NodeUnknown, "podman has no container x", "podman ps"},
		{"podman", "Error: inspecting object: no such container \"x\"", "125", diag.NodeUnknown, "podman has no container x", "podman ps"},
		{"podman", "Error: unable to connect to Podman socket: Get \"http://d/v5.0.0/libpod/_ping\": dial unix /run/user/1000/podman/podman.sock: connect: no such file or directory", "125", diag.NodeUnreachable, "does not answer", "podman ps"},
		{"docker", "something \x1b[31mnew", "1", diag.NodeUnreachable, `docker does not tell of the container x: something \x1b[31mnew`, "docker container inspect x"},
	} {
		bin := t.TempDir()
		script := "#!/bin/sh\ncat >&2 <<'END'\n" + c.says + "\nEND\nexit " + c.status + "\n"
		if err := os.WriteFile(filepath.Join(bin, c.engine), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+":/usr/bin:/bin")
		refuses(t, container(c.engine, "x"), c.code, c.summary, c.hint)
	}
	t.Setenv("PATH", t.TempDir())
	refuses(t, container("docker", "x"), diag.NodeUnreachable, "there is no command docker", "install")
}

// A container that stops after it was looked at, or has no shell.
func TestCommandRefused(t *testing.T) {
	start(t)
	c := dial(t)
	for says, code := range map[string]diag.Code{
		"Error response from daemon: container 1f is not running":                                                                 diag.NodeUnreachable,
		"Error response from daemon: Container here is paused, unpause the container before exec":                                 diag.NodeUnreachable,
		"Error: can only create exec sessions on running containers: container state improper":                                    diag.NodeUnreachable,
		`OCI runtime exec failed: exec failed: unable to start container process: exec: "sh": executable file not found in $PATH`: diag.NodePlatform,
	} {
		if err := c.ExplainRefusal([]byte(says)); err == nil || err.Code != code {
			t.Errorf("%s: %v", says, err)
		}
	}
	if err := c.ExplainRefusal([]byte("anything else")); err != nil {
		t.Errorf("anything else: %v", err)
	}
	if !strings.Contains(c.Remedy(), "docker exec -i -u 0 here") {
		t.Errorf("the remedy is %q", c.Remedy())
	}
}

// The agent is put into the container and started, without sudo.
func TestStartAgent(t *testing.T) {
	start(t)
	c := dial(t)
	if argv := c.AsRoot([]string{"id"}); !slices.Equal(argv, []string{"id"}) {
		t.Errorf("as root: %q", argv)
	}
	path := filepath.Join(t.TempDir(), "agent")
	build := exec.Command("go", "build", "-o", path, "../remote/testdata/standin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bin, err := remote.FindAgent(t.Context(), remote.AgentOptions{Explicit: path, OS: "linux", Arch: runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}
	var sent int64
	d := remote.UploadOptions{Dirs: []string{filepath.Join(t.TempDir(), "agents")}, Progress: func(done, _ int64) { sent = done }}
	for _, first := range []bool{true, false} {
		sent = 0
		cmd, err := remote.StartAgent(t.Context(), c, bin, d, nil)
		if err != nil {
			t.Fatal(err)
		}
		if hello, err := bufio.NewReader(cmd.Stdout).ReadString('\n'); err != nil || hello == "" {
			t.Errorf("its hello: %q, %v", hello, err)
		}
		cmd.Close()
		if (sent > 0) != first {
			t.Errorf("%d bytes were sent; it is the first time: %v", sent, first)
		}
	}
}
