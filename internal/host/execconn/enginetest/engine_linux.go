// Package enginetest is a fake container engine for tests: a client that understands the
// docker command lines that dapbridge uses, and a server in the test process that runs
// the commands. As with docker, the server holds the command's streams, and the death of
// a client closes the command's standard input and does nothing else.
package enginetest

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"

	"golang.org/x/sys/unix"
)

// Container is a container of the engine.
type Container struct {
	Status string // as docker reports it: running, paused, exited
	// Command returns a command that runs in the container as root.
	Command func(argv []string) *exec.Cmd
}

// Engine is the server.
type Engine struct {
	Dir        string // contains the client, as docker and podman: a value for PATH
	containers map[string]Container
	ln         *net.UnixListener
	wg         sync.WaitGroup
	ended      context.Context // ends with the test

	mu      sync.Mutex
	clients map[int][]string // command lines of exec clients, by pid
}

// Start starts an engine whose clients run as the user owner. The engine and the
// commands that it started end with the test.
func Start(t testing.TB, owner int, containers map[string]Container) *Engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine") // other users cannot access t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(context.Background())
	e := &Engine{Dir: dir, containers: containers, ended: ended, clients: map[int][]string{}}
	if err := e.listen(owner); err != nil {
		t.Fatal(err)
	}
	e.wg.Go(func() { e.accept(t) })
	t.Cleanup(func() {
		e.ln.Close()
		end()
		e.wg.Wait()
		os.RemoveAll(dir)
	})
	return e
}

func (e *Engine) listen(owner int) error {
	client := filepath.Join(e.Dir, "docker")
	build := exec.Command("go", "build", "-o", client, "github.com/dapbridge/dapbridge/internal/host/execconn/enginetest/testdata/docker")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if err := os.Link(client, filepath.Join(e.Dir, "podman")); err != nil {
		return err
	}
	if err := os.Chmod(e.Dir, 0o755); err != nil {
		return err
	}
	socket := filepath.Join(e.Dir, "engine.sock")
	var err error
	if e.ln, err = net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: socket}); err != nil {
		return err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return err
	}
	return os.Chown(socket, owner, owner)
}

func (e *Engine) accept(t testing.TB) {
	for {
		conn, err := e.ln.AcceptUnix()
		if err != nil {
			return
		}
		e.wg.Go(func() {
			defer conn.Close()
			if err := e.serve(conn); err != nil {
				t.Errorf("fake engine: %v", err)
			}
		})
	}
}

// Clients returns the pids of the exec clients whose command has the given word.
func (e *Engine) Clients(word string) []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	var pids []int
	for pid, argv := range e.clients {
		if slices.Contains(argv, word) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// serve answers one client. It returns an error for a request that dapbridge must not
// make.
func (e *Engine) serve(conn *net.UnixConn) error {
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil // a client that was killed early
	}
	var argv []string
	if err := json.Unmarshal(line, &argv); err != nil {
		return err
	}
	out := &frames{w: conn}
	switch {
	case matches(argv, "container", "inspect", "--format", "*", "--", "*"):
		return e.inspect(out, argv[3], argv[5])
	case matches(argv, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"):
		out.writeText(1, "unix://"+filepath.Join(e.Dir, "engine.sock")+"\n")
	case matches(argv, "ps", "--format", "{{.Names}}"):
		for name, c := range e.containers {
			if c.Status == "running" {
				out.writeText(1, name+"\n")
			}
		}
	case len(argv) > 5 && matches(argv[:5], "exec", "-i", "-u", "0", "*"):
		return e.exec(conn, in, out, argv[4], argv[5:])
	default:
		out.writeStatus(125)
		return fmt.Errorf("unexpected command line: docker %q", argv)
	}
	out.writeStatus(0)
	return nil
}

// matches reports whether a command line matches a pattern, in which * stands for any
// word.
func matches(argv []string, pattern ...string) bool {
	return slices.EqualFunc(argv, pattern, func(arg, p string) bool { return p == "*" || arg == p })
}

func (e *Engine) inspect(out *frames, format, name string) error {
	c, ok := e.containers[name]
	if !ok {
		out.writeText(2, "Error response from daemon: No such container: "+name+"\n")
		out.writeStatus(1)
		return nil
	}
	tmpl, err := template.New("").Parse(format)
	if err != nil {
		return err
	}
	var text strings.Builder
	state := map[string]any{"State": map[string]any{"Status": c.Status}}
	if err := tmpl.Execute(&text, state); err != nil {
		return err
	}
	out.writeText(1, text.String()+"\n")
	out.writeStatus(0)
	return nil
}

func (e *Engine) exec(conn *net.UnixConn, in io.Reader, out *frames, name string, argv []string) error {
	c := e.containers[name]
	if c.Status != "running" {
		out.writeText(2, "Error response from daemon: container "+name+" is not running\n")
		out.writeStatus(1)
		return nil
	}
	pid, err := peerPID(conn)
	if err != nil {
		return err
	}
	e.setClient(pid, argv)
	defer e.setClient(pid, nil)
	cmd := c.Command(argv)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = stream{out, 1}, stream{out, 2}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(e.ended, func() { cmd.Process.Kill(); conn.Close() })()
	feeding := make(chan struct{})
	go func() {
		defer close(feeding)
		io.Copy(stdin, in)
		stdin.Close()
	}()
	cmd.Wait() // its error is in the process state
	status := cmd.ProcessState.ExitCode()
	if s, ok := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); status < 0 && ok {
		status = 128 + int(s.Signal())
	}
	out.writeStatus(status)
	conn.Close()
	<-feeding
	return nil
}

func (e *Engine) setClient(pid int, argv []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if argv == nil {
		delete(e.clients, pid)
		return
	}
	e.clients[pid] = argv
}

func peerPID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || credErr != nil {
		return 0, fmt.Errorf("get the client's pid: %v, %v", err, credErr)
	}
	return int(cred.Pid), nil
}

// frames multiplexes a command's outputs. A frame is one byte for the stream, four for
// the length, and the data. In a frame of stream 0 the length is the exit status, and
// there is no data.
type frames struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frames) write(kind byte, n int, p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(n))
	f.w.Write(append(head, p...)) // the command continues even if its client has ended
}

func (f *frames) writeText(kind byte, s string) { f.write(kind, len(s), []byte(s)) }
func (f *frames) writeStatus(status int)        { f.write(0, status, nil) }

// stream is one of a command's outputs.
type stream struct {
	f    *frames
	kind byte
}

func (s stream) Write(p []byte) (int, error) {
	s.f.write(s.kind, len(p), p)
	return len(p), nil
}
