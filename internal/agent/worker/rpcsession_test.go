//go:build linux

package worker

import (
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-delve/delve/pkg/logflags"
	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// testTimeout bounds a wait for something that must happen.
const testTimeout = 30 * time.Second

// rpcTarget is a running Go program with a session on it.
type rpcTarget struct {
	pid   int
	conn  net.Conn      // the client's end
	ended chan struct{} // closed when the session has ended
}

// serveTarget starts a program and serves it by JSON-RPC until the test ends.
func serveTarget(t *testing.T) *rpcTarget {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "counter")
	build := exec.Command("go", "build", "-gcflags", "all=-N -l", "-o", bin, "./testdata/counter")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if err := logflags.Setup(false, "", ""); err != nil {
		t.Fatal(err)
	}
	d, err := attach(t.Context(), cmd.Process.Pid, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.release(); err != nil {
			t.Error(err)
		}
	})
	// Delve's client knows how to close a TCP connection only.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := &rpcTarget{pid: cmd.Process.Pid, ended: make(chan struct{})}
	if r.conn, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() { defer close(r.ended); serveRPC(server, d); server.Close() }()
	t.Cleanup(func() { r.conn.Close(); r.waitEnded(t) })
	return r
}

func (r *rpcTarget) waitEnded(t *testing.T) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(testTimeout):
		buf := make([]byte, 1<<20)
		t.Fatalf("the session has not ended\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// receive returns the next value of a channel.
func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(testTimeout):
		buf := make([]byte, 1<<20)
		t.Fatalf("nothing came\n%s", buf[:runtime.Stack(buf, true)])
	}
	return v
}

func TestRPCSession(t *testing.T) {
	r := serveTarget(t)
	c := rpc2.NewClientFromConn(r.conn)
	if v := c.GetVersion(); v.APIVersion != 2 || v.DelveVersion == "" || v.Backend == "" {
		t.Errorf("version: %+v", v)
	}
	testenv.Equal(t, "IsMulticlient", c.IsMulticlient(), false)
	testenv.Equal(t, "AttachedToExistingProcess", c.AttachedToExistingProcess(), true)
	testenv.Equal(t, "ProcessPid", c.ProcessPid(), r.pid)
	sources, err := c.ListSources("testdata/counter/main.go$")
	if err != nil || len(sources) != 1 {
		t.Fatalf("sources: %v, %v", sources, err)
	}
	if _, err := os.Stat(sources[0]); err != nil {
		t.Error(err)
	}
	bp, err := c.CreateBreakpoint(&api.Breakpoint{FunctionName: "main.count"})
	if err != nil {
		t.Fatal(err)
	}
	state := receive(t, c.Continue())
	if state.Err != nil || state.CurrentThread == nil || state.CurrentThread.Breakpoint == nil || state.CurrentThread.Breakpoint.ID != bp.ID {
		t.Fatalf("stopped: %+v", state)
	}
	frames, err := c.Stacktrace(-1, 10, 0, 0, &api.LoadConfig{})
	if err != nil || len(frames) < 2 || frames[0].File != sources[0] {
		t.Fatalf("stack: %+v, %v", frames, err)
	}
	if state, err = c.Next(); err != nil || state.CurrentThread.File != sources[0] {
		t.Errorf("next: %+v, %v", state, err)
	}
	if _, err := c.ClearBreakpoint(bp.ID); err != nil {
		t.Error(err)
	}
	if err := c.CallAPI("NoSuchMethod", struct{}{}, &struct{}{}); err == nil || err.Error() != "unknown method: RPCServer.NoSuchMethod" {
		t.Errorf("an unknown method: %v", err)
	}
	if err := c.CallAPI("CreateBreakpoint", "text", &struct{}{}); err == nil || !strings.Contains(err.Error(), "malformed request body") {
		t.Errorf("a malformed request: %v", err)
	}
}

// TestRPCEnd ends the stream while requests wait.
func TestRPCEnd(t *testing.T) {
	for name, requests := range map[string]string{
		"idle":      "",
		"running":   `{"method":"RPCServer.Command","params":[{"name":"continue"}],"id":1}`,
		"waiting":   `{"method":"RPCServer.Command","params":[{"name":"continue","WithEvents":true}],"id":1}{"method":"RPCServer.GetEvents","params":[{}],"id":2}{"method":"RPCServer.GetEvents","params":[{}],"id":3}{"method":"RPCServer.ListSources","params":[{}],"id":4}{"method":"RPCServer.State","params":[{}],"id":5}`,
		"malformed": `{"method":`,
		"no id":     `{"method":"RPCServer.GetEvents"}{}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := serveTarget(t)
			if _, err := io.WriteString(r.conn, requests); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond) // usually in the middle of the requests
			r.conn.Close()
			r.waitEnded(t)
		})
	}
}
