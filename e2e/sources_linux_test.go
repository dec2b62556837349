package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-delve/delve/service/api"
	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// tickerSource is a program that calls a function 20 times a second.
const tickerSource = `// Ticker ticks.
package main

import "time"

func main() {
	for n := 0; ; n++ {
		tick(n)
		time.Sleep(50 * time.Millisecond)
	}
}

func tick(n int) {
	ticks = append(ticks[:0], n)
}

var ticks []int
`

// tickerLine is a line of tick.
const tickerLine = 14

// tickerNode is the path of the source in the binary. It exists on the node and not on
// the host.
const tickerNode = "/srv/ticker/main.go"

// startTicker builds the program from a repository of the user, runs it on the node
// until the test ends, and returns the repository.
func (f *fixture) startTicker(t *testing.T) string {
	t.Helper()
	ctx := short(t)
	dir := filepath.Join(f.dir, "ticker-"+t.Name())
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, text := range map[string]string{"go.mod": "module example.com/ticker\n\ngo 1.25\n", "main.go": tickerSource} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(t.TempDir(), "ticker")
	for _, argv := range [][]string{
		{"git", "init", "-q"},
		{"git", "add", "."},
		{"git", "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-qm", "Tick"},
		{"go", "build", "-buildvcs=true", "-gcflags=all=-N -l -trimpath=" + dir + "=>" + filepath.Dir(tickerNode), "-o", bin},
		{"chown", "-R", fmt.Sprint(userUID), dir},
	} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "HOME="+t.TempDir())
		if argv[0] == "go" {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	root := f.node.RootFS()
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(tickerNode)), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"/usr/local/bin/ticker": program, tickerNode: []byte(tickerSource)} {
		file := filepath.Join(root, name)
		if err := os.WriteFile(file, data, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(file) })
	}
	if _, err := f.node.Exec(ctx, "systemd-run", "--unit=ticker", "/usr/local/bin/ticker"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := f.node.Exec(ctx, "systemctl", "stop", "ticker"); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// serveTicker serves the ticker with the user's source in root.
func (f *fixture) serveTicker(t *testing.T, root string) *server {
	t.Helper()
	return f.serve(t, "--target", "ticker", "--root", root)
}

// TestSourceThatTheHostLacks sets a breakpoint in a file that the host lacks: it is
// verified, and the frame there shows the node's file.
func TestSourceThatTheHostLacks(t *testing.T) {
	f := setup(t)
	f.startTicker(t)
	s := f.serveTicker(t, f.home)
	ctx := short(t)
	c := s.dial(t)
	verified, err := c.Attach(ctx, dapclient.AttachOptions{Breakpoints: map[string][]int{tickerNode: {tickerLine}}})
	if err != nil {
		t.Fatal(err)
	}
	checkVerified(t, verified[tickerNode], tickerNode, 0)
	if bp := verified[tickerNode][0]; bp.Message != "" || bp.Source.SourceReference == 0 {
		t.Fatalf("the breakpoint has the message %q and the sourceReference %d", bp.Message, bp.Source.SourceReference)
	}
	stop, err := c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err := c.StackTrace(ctx, stop.ThreadId, 0, 20)
	if err != nil || len(frames) < 2 {
		t.Fatalf("frames: %+v, %v", frames, err)
	}
	checkTop(t, frames, tickerNode, tickerLine)
	at := frames[0]
	if at.Source.SourceReference == 0 || at.Source.Origin == "" {
		t.Fatalf("the source of the top frame has no reference or no origin: %+v", at.Source)
	}
	r, err := c.Request(ctx, "source", map[string]any{"source": at.Source, "sourceReference": at.Source.SourceReference})
	if err != nil {
		t.Fatal(err)
	}
	var body dap.SourceResponseBody
	if err := json.Unmarshal(r.Body, &body); err != nil || body.Content != tickerSource {
		t.Errorf("the source is %q, %v", body.Content, err)
	}
	if err := c.Disconnect(ctx, false); err != nil {
		t.Error(err)
	}
	f.rpcSourceThatTheHostLacks(t, s)
}

// rpcSourceThatTheHostLacks does the same with a client of JSON-RPC, which gets a copy
// of the file on the host.
func (f *fixture) rpcSourceThatTheHostLacks(t *testing.T, s *server) {
	c, _ := s.rpc(t)
	bp, err := c.CreateBreakpoint(&api.Breakpoint{File: tickerNode, Line: tickerLine})
	if err != nil {
		t.Fatal(err)
	}
	state := within(t, c.Continue())
	if state.Err != nil || state.CurrentThread == nil || state.CurrentThread.Line != tickerLine {
		t.Fatalf("stopped: %+v", state)
	}
	file := state.CurrentThread.File
	if bp.File != file || !strings.HasPrefix(file, f.cache+"/") || !strings.HasSuffix(file, tickerNode) {
		t.Errorf("the breakpoint is in %s, the thread in %s", bp.File, file)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != tickerSource {
		t.Errorf("the file holds %q, %v", text, err)
	}
	for path := filepath.Dir(file); path != f.cache && path != "/"; path = filepath.Dir(path) {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s is %v, %v", path, info.Mode(), err)
		}
	}
	if other, err := c.CreateBreakpoint(&api.Breakpoint{File: file, Line: tickerLine - 5}); err != nil || other.File != file {
		t.Errorf("a breakpoint in that file: %+v, %v", other, err)
	}
	if err := c.Detach(false); err != nil {
		t.Error(err)
	}
}

// TestClientForms compares the session of a client that sends file URLs and counts from
// 0 with that of one that sends paths and counts from 1.
func TestClientForms(t *testing.T) {
	f := setupAll(t)
	dir := filepath.Join(f.dir, "my ticker ü")
	if err := os.Rename(f.startTicker(t), dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := f.serve(t, "--target", "ticker", "--root", dir)
	file := filepath.Join(dir, "main.go")
	plain := tickerSession(t, s, map[string]any{"pathFormat": "path"}, file, tickerLine)
	zero := tickerSession(t, s, map[string]any{"pathFormat": "uri", "linesStartAt1": false, "columnsStartAt1": false},
		(&url.URL{Scheme: "file", Path: file}).String(), tickerLine-1)
	if len(plain) < 2 || len(plain) != len(zero) {
		t.Fatalf("%d frames and %d", len(plain), len(zero))
	}
	if plain[0].Source == nil || plain[0].Source.Path != file || plain[0].Line != tickerLine {
		t.Errorf("the top frame is %+v in %+v", plain[0], plain[0].Source)
	}
	for i := range zero {
		u, err := url.Parse(zero[i].Source.Path)
		if err != nil || u.Scheme != "file" {
			t.Errorf("frame %d: %s, %v", i, zero[i].Source.Path, err)
			continue
		}
		zero[i].Source.Path = u.Path
		zero[i].Line++
		zero[i].Id = plain[i].Id
		if !reflect.DeepEqual(zero[i], plain[i]) {
			t.Errorf("frame %d is\n%+v in %+v, and\n%+v in %+v", i, plain[i], plain[i].Source, zero[i], zero[i].Source)
		}
	}
}

// tickerSession stops at a breakpoint with a client of that form, and returns the stack.
func tickerSession(t *testing.T, s *server, form map[string]any, path string, line int) []dap.StackFrame {
	t.Helper()
	ctx := short(t)
	c := s.dial(t)
	form["adapterID"] = "go"
	ask := func(command string, args any) *dapclient.Response {
		t.Helper()
		r, err := c.Request(ctx, command, args)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ask("initialize", form)
	attach, err := c.Send("attach", map[string]any{"mode": "remote"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitEvent(ctx, "initialized", nil); err != nil {
		t.Fatal(err)
	}
	var set dap.SetBreakpointsResponseBody
	r := ask("setBreakpoints", map[string]any{"source": map[string]any{"path": path}, "breakpoints": []any{map[string]any{"line": line}}})
	if err := json.Unmarshal(r.Body, &set); err != nil {
		t.Fatal(err)
	}
	checkVerified(t, set.Breakpoints, path, line)
	ask("configurationDone", nil)
	if _, err := c.Wait(ctx, attach); err != nil {
		t.Fatal(err)
	}
	stop, err := c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err := c.StackTrace(ctx, stop.ThreadId, 0, 20)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Disconnect(ctx, false); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return frames
}

// TestStaleSource warns about a file that differs from the one the binary was built
// from, and not about one that was only checked out again.
func TestStaleSource(t *testing.T) {
	f := setup(t)
	dir := f.startTicker(t)
	s := f.serveTicker(t, dir)
	file := filepath.Join(dir, "main.go")
	messages := func(lines ...int) (message, console string) {
		t.Helper()
		ctx := short(t)
		c := s.dial(t)
		verified, err := c.Attach(ctx, dapclient.AttachOptions{Breakpoints: map[string][]int{file: lines}})
		if err != nil {
			t.Fatal(err)
		}
		if bp := verified[file]; len(bp) == 1 {
			message = bp[0].Message
		}
		if err := c.Disconnect(ctx, false); err != nil {
			t.Error(err)
		}
		return message, c.Output()
	}
	now := time.Now().Add(time.Minute)
	if err := os.Chtimes(file, now, now); err != nil {
		t.Fatal(err)
	}
	if message, console := messages(tickerLine); message != "" || strings.Contains(console, "built from") {
		t.Errorf("of an unchanged file: %q, and in the console %q", message, console)
	}
	if err := os.WriteFile(file, []byte("// Changed.\n"+tickerSource), 0o644); err != nil {
		t.Fatal(err)
	}
	const want = "main.go is not what ticker was built from (commit "
	message, console := messages(tickerLine)
	if !strings.HasPrefix(message, want) || strings.Count(console, "dapbridge: "+want) != 1 {
		t.Errorf("of a changed file: %q, and in the console %q", message, console)
	}
}
