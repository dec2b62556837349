package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startDaemon serves methods in dir until the end of the test.
func startDaemon(t *testing.T, dir string, methods map[string]Method) (d Daemon, stop func()) {
	t.Helper()
	ln, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { Serve(ctx, ln, methods, slog.New(slog.DiscardHandler)) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	all, err := Find(t.Context(), dir)
	if err != nil || len(all) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
	return all[0], stop
}

// shortDir returns a directory whose path is short enough for unix sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	testenv.SkipOn(t, "windows", "it does not tell the user at the other end of a unix socket")
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestCall(t *testing.T) {
	dir := shortDir(t)
	d, stop := startDaemon(t, dir, map[string]Method{
		"double": func(_ context.Context, params json.RawMessage) (any, error) {
			var n int
			err := json.Unmarshal(params, &n)
			return 2 * n, err
		},
		"fail": func(context.Context, json.RawMessage) (any, error) {
			return nil, fmt.Errorf("while trying: %w", diag.Errorf(diag.LinkLost, "gone").WithHint("wait"))
		},
		"break":   func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("broken") },
		"panic":   func(context.Context, json.RawMessage) (any, error) { panic("at the disco") },
		"useless": func(context.Context, json.RawMessage) (any, error) { return func() {}, nil },
		"large":   func(context.Context, json.RawMessage) (any, error) { return strings.Repeat("x", maxAnswer), nil },
	})
	if d.PID != os.Getpid() {
		t.Errorf("the daemon's pid is %d, want %d", d.PID, os.Getpid())
	}
	if info, err := os.Stat(d.Socket); err != nil {
		t.Error(err)
	} else if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the socket has mode %o", mode)
	}
	var n int
	if err := d.Call(t.Context(), "double", 21, &n); err != nil || n != 42 {
		t.Errorf("%d, %v", n, err)
	}
	for method, want := range map[string]struct {
		code    diag.Code
		summary string
	}{
		"fail": {diag.LinkLost, "while trying: gone"}, "break": {diag.Internal, "broken"}, "panic": {diag.DaemonSilent, "EOF"},
		"useless": {diag.DaemonSilent, "unsupported type"}, "large": {diag.DaemonSilent, "more than"}, "unknown": {diag.DaemonSilent, "another release"},
	} {
		err := d.Call(t.Context(), method, nil, &n)
		if code := diag.CodeOf(err); code != want.code {
			t.Errorf("%s: got the code %s, want %s", method, code, want.code)
		}
		if !strings.Contains(err.Error(), want.summary) {
			t.Errorf("%s: got %v, want %q in it", method, err, want.summary)
		}
	}
	if err := d.Call(t.Context(), "fail", nil, &n); diag.Hint(err) != "wait" {
		t.Errorf("the hint is %q", diag.Hint(err))
	}
	if err := d.Call(t.Context(), "double", strings.Repeat("x", maxRequest), &n); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a large request: %v", err)
	}
	stop()
	if all, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(all) > 0 {
		t.Errorf("left: %q, %v", all, err)
	}
	if err := d.Call(t.Context(), "double", 1, &n); diag.CodeOf(err) != diag.DaemonSilent {
		t.Errorf("a call after the daemon's end: %v", err)
	}
}

// TestCallEnds runs a method for longer than the timeout of a request, until its
// client or the daemon ends.
func TestCallEnds(t *testing.T) {
	var entered, left = make(chan struct{}, 2), make(chan error, 2)
	d, stop := startDaemon(t, shortDir(t), map[string]Method{"wait": func(ctx context.Context, _ json.RawMessage) (any, error) {
		entered <- struct{}{}
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond) // it has something to clean up
		left <- ctx.Err()
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan error, 2)
	go func() { answers <- d.Call(ctx, "wait", nil, nil) }()
	<-entered
	select {
	case err := <-left:
		t.Errorf("the method was cancelled: %v", err)
	case <-time.After(readTimeout + time.Second/2):
	}
	cancel()
	if err := <-answers; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-left
	go func() { answers <- d.Call(context.Background(), "wait", nil, nil) }()
	<-entered
	stop()
	if len(left) == 0 {
		t.Error("Serve returns while a method is running")
	}
	if err := <-answers; err == nil {
		t.Error("a call succeeds after the daemon's end")
	}
}

// TestFind checks that Find removes the socket of a killed daemon, and nothing else.
func TestFind(t *testing.T) {
	dir := shortDir(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "1-gone.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	for _, name := range []string{"1-notes", "1-new"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, _ := startDaemon(t, dir, nil)
	if all, err := Find(t.Context(), dir); err != nil || len(all) != 1 || all[0] != d {
		t.Errorf("%v, %v", all, err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 3 {
		t.Errorf("the directory has %q, want 3 files", names)
	}
	if all, err := Find(t.Context(), filepath.Join(dir, "none")); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestSilentClients opens more connections than are served at a time, and sends
// nothing: another client waits no longer than the timeout of a request.
func TestSilentClients(t *testing.T) {
	d, _ := startDaemon(t, shortDir(t), map[string]Method{"ping": func(context.Context, json.RawMessage) (any, error) { return true, nil }})
	for range maxConns + 4 {
		conn, err := net.Dial("unix", d.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ok bool
	if err := d.Call(ctx, "ping", nil, &ok); err != nil || !ok {
		t.Error(err)
	}
}

// FuzzCall checks that any bytes in place of an answer are an answer or an error.
func FuzzCall(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42"))
	f.Add([]byte("HTTP/1.1 500 x\r\n\r\n{\"code\":\"link-lost\",\"summary\":\"s\"}"))
	f.Add([]byte("HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\x1b[31m\r\n0\r\n\r\n"))
	testenv.SkipOn(f, "windows", "it does not tell the user at the other end of a unix socket")
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(shortDir(t), "1-fuzz.sock")
		ln, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		defer ln.Close()
		wg.Go(func() {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			conn.Read(make([]byte, maxHeader))
			conn.Write(text)
		})
		var n int
		err = Daemon{Socket: name, PID: 1}.Call(t.Context(), "x", nil, &n)
		if err != nil && (diag.CodeOf(err) == "" || bytes.ContainsRune([]byte(diag.Escape(err.Error())), '\x1b')) {
			t.Errorf("%q", err)
		}
	})
}
