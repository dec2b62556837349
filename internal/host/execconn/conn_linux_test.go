package execconn_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
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

// start starts an engine whose container "here" is this machine, and puts its client
// first in PATH.
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

// Arguments that cannot be passed to the engine unchanged are refused.
func TestArguments(t *testing.T) {
	start(t)
	c := dial(t)
	for _, arg := range []string{"\xff", "a\x00b"} {
		if _, err := c.Start(t.Context(), []string{"echo", arg}); err == nil || !strings.Contains(err.Error(), "not UTF-8 text") {
			t.Errorf("%q: %v", arg, err)
		}
	}
}

// waitForClient waits for a client whose command has the word, and returns its pid.
func waitForClient(t *testing.T, e *enginetest.Engine, word string) int {
	t.Helper()
	for range 500 {
		if pids := e.Clients(word); len(pids) == 1 {
			return pids[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no client for %q", word)
	return 0
}

// If the client is killed, the host notices at once, and the command's standard input
// ends.
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
	pid := waitForClient(t, e, ended)
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the client is in the process group %d (%v), want %d: Ctrl-C would end it", group, err, pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if diag.CodeOf(err) != diag.LinkLost {
		t.Fatalf("Wait: %v, want code %s", err, diag.LinkLost)
	}
	if want := "signal: killed"; !strings.Contains(err.Error(), want) {
		t.Errorf("Wait: %v, want %q", err, want)
	}
	if _, err := out.ReadByte(); err != io.EOF {
		t.Errorf("read the output: %v, want %v", err, io.EOF)
	}
	if _, err := cmd.Stdin.Write([]byte("x")); err != io.EOF {
		t.Errorf("write the input: %v, want %v", err, io.EOF)
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
		summary      string
		hint         string
	}{
		{"docker", "nosuch", diag.NodeUnknown, "docker has no container nosuch", "running containers: here"},
		{"docker", "stopped", diag.NodeUnreachable, "is not running (status: exited)", "docker start stopped"},
		{"podman", "stopped", diag.NodeUnreachable, "is not running (status: exited)", "podman start stopped"},
		{"docker", "frozen", diag.NodeUnreachable, "is paused", "docker unpause frozen"},
	} {
		checkDialFails(t, container(c.engine, c.name), c.code, c.summary, c.hint)
	}
}

// checkDialFails checks the error's code and parts of its texts.
func checkDialFails(t *testing.T, n *node.Node, code diag.Code, summary, hint string) {
	t.Helper()
	_, err := execconn.Dial(t.Context(), n, time.Minute, slog.New(slog.DiscardHandler))
	var e *diag.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %#v, want a diag.Error", n.Name, err)
		return
	}
	if e.Code != code {
		t.Errorf("%s: code %s, want %s", n.Name, e.Code, code)
	}
	if !strings.Contains(e.Summary, summary) {
		t.Errorf("%s: %q, want %q", n.Name, e.Summary, summary)
	}
	if !strings.Contains(e.Hint, hint) {
		t.Errorf("%s: hint %q, want %q", n.Name, e.Hint, hint)
	}
}

// The messages are those in the source of docker 20, 28 and 29 and of podman 5.
func TestEngineMessages(t *testing.T) {
	for _, c := range []struct {
		engine, text string
		status       string
		code         diag.Code
		summary      string
		hint         string
	}{
		{"docker", "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/containers/x/json\": dial unix /var/run/docker.sock: connect: permission denied", "1", diag.NodeUnreachable, "you are not allowed to use docker's socket", "usermod -aG docker"},
		{"docker", "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock", "1", diag.NodeUnreachable, "you are not allowed to use docker's socket", "usermod -aG docker"},
		{"docker", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "1", diag.NodeUnreachable, "does not answer", "docker ps"},
		{"docker", "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory", "1", diag.NodeUnreachable, "does not answer", "docker ps"},
		{"docker", "Error: No such container: x", "1", diag.NodeUnknown, "docker has no container x", "docker ps"},
		{"podman", "Error: no such container x", "125", diag.NodeUnknown, "podman has no container x", "podman ps"},
		{"podman", "Error: inspecting object: no such container \"x\"", "125", diag.NodeUnknown, "podman has no container x", "podman ps"},
		{"podman", "Error: unable to connect to Podman socket: Get \"http://d/v5.0.0/libpod/_ping\": dial unix /run/user/1000/podman/podman.sock: connect: no such file or directory", "125", diag.NodeUnreachable, "does not answer", "podman ps"},
		{"docker", "something \x1b[31mnew", "1", diag.NodeUnreachable, `docker cannot inspect the container x: something \x1b[31mnew`, "docker container inspect x"},
	} {
		bin := t.TempDir()
		script := "#!/bin/sh\ncat >&2 <<'END'\n" + c.text + "\nEND\nexit " + c.status + "\n"
		if err := os.WriteFile(filepath.Join(bin, c.engine), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+":/usr/bin:/bin")
		checkDialFails(t, container(c.engine, "x"), c.code, c.summary, c.hint)
	}
	t.Setenv("PATH", t.TempDir())
	checkDialFails(t, container("docker", "x"), diag.NodeUnreachable, "the command docker was not found", "install")
}

// A command may be refused because the container has stopped since Dial, or has no
// shell.
func TestCommandRefused(t *testing.T) {
	start(t)
	c := dial(t)
	for text, code := range map[string]diag.Code{
		"Error response from daemon: container 1f is not running":                                                                 diag.NodeUnreachable,
		"Error response from daemon: Container here is paused, unpause the container before exec":                                 diag.NodeUnreachable,
		"Error: can only create exec sessions on running containers: container state improper":                                    diag.NodeUnreachable,
		`OCI runtime exec failed: exec failed: unable to start container process: exec: "sh": executable file not found in $PATH`: diag.NodePlatform,
	} {
		if err := c.ExplainRefusal([]byte(text)); err == nil || err.Code != code {
			t.Errorf("%s: %v, want code %s", text, err, code)
		}
	}
	if err := c.ExplainRefusal([]byte("anything else")); err != nil {
		t.Errorf("anything else: %v", err)
	}
	if want := "docker exec -i -u 0 here"; !strings.Contains(c.Remedy(), want) {
		t.Errorf("remedy %q, want %q", c.Remedy(), want)
	}
}

// The agent is uploaded to the container and started without sudo.
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
	bin, err := remote.OpenAgent(path)
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
			t.Errorf("the agent's hello: %q, %v", hello, err)
		}
		cmd.Close()
		if (sent > 0) != first {
			t.Errorf("%d bytes were uploaded; first start: %v", sent, first)
		}
	}
}
