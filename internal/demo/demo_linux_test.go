package demo

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// delveOptions run the demo with plain Delve, which needs an explicit path map.
func delveOptions(t *testing.T, out *bytes.Buffer) Options {
	return Options{
		Out: out, Serve: serveWithDelve(t), WorkDir: t.TempDir(),
		dial: []dapclient.Option{dapclient.Unordered()},
		attachArgs: func(build, workspace string) map[string]any {
			return map[string]any{"substitutePath": []map[string]string{{"from": workspace, "to": build}}}
		},
	}
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	o := delveOptions(t, &out)
	err := Run(t.Context(), o)
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\nok "); n != 12 {
		t.Errorf("%d steps passed, want 12", n)
	}
	checkClean(t, o.WorkDir, out.String())
}

// checkClean checks that the demo has removed its directory and ended its sample.
func checkClean(t *testing.T, dir, out string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v, %v", left, err)
	}
	if m := regexp.MustCompile(`pid (\d+)`).FindStringSubmatch(out); m != nil {
		if exe, err := os.Readlink(filepath.Join("/proc", m[1], "exe")); err == nil && strings.Contains(exe, "greeter") {
			t.Errorf("the sample still runs: %s", exe)
		}
	}
}

func TestRunWithoutMappingFailsAndReleases(t *testing.T) {
	var out bytes.Buffer
	o := delveOptions(t, &out)
	o.attachArgs = nil
	err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "not verified") {
		t.Errorf("got the error %v", err)
	}
	if !regexp.MustCompile(`ok +sample still running`).MatchString(out.String()) {
		t.Errorf("the sample was not checked:\n%s", out.String())
	}
	checkClean(t, o.WorkDir, out.String())
}

func TestRunReportsBridgeFailure(t *testing.T) {
	var out bytes.Buffer
	want := diag.Errorf(diag.NoSudo, "no sudo")
	o := delveOptions(t, &out)
	o.Serve = func(context.Context, ServeConfig) (Bridge, error) { return nil, want }
	if err := Run(t.Context(), o); !errors.Is(err, want) {
		t.Errorf("got the error %v", err)
	}
	checkClean(t, o.WorkDir, out.String())
}

func TestRunInterrupted(t *testing.T) {
	for _, at := range []string{"start the sample", "start the bridge", "hit the breakpoint", "step over a line"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out bytes.Buffer
			o := delveOptions(t, &out)
			o.Out = cancelAt{&out, at, cancel}
			if err := Run(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("got the error %v", err)
			}
			if !strings.Contains(out.String(), "still running") && at != "start the sample" {
				t.Errorf("the sample was not checked:\n%s", out.String())
			}
			checkClean(t, o.WorkDir, out.String())
		})
	}
}

// cancelAt cancels once a text is written.
type cancelAt struct {
	out    *bytes.Buffer
	text   string
	cancel func()
}

func (c cancelAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(c.text)) {
		c.cancel()
	}
	return c.out.Write(p)
}

func TestRunKeep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	o := delveOptions(t, &out)
	o.Keep, o.Out = true, cancelAt{&out, "Press Ctrl-C", cancel}
	if err := Run(ctx, o); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, want := range []string{`"debugAdapter": "dlv-dap"`, filepath.Join("workspace", "greeter")} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	checkClean(t, o.WorkDir, out.String())
}

func TestRunWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Run(t.Context(), Options{WorkDir: t.TempDir()})
	if !errors.Is(err, &diag.Error{Code: diag.Unsupported}) || !strings.Contains(err.Error(), "no Go toolchain") {
		t.Errorf("got the error %v", err)
	}
}

func TestEndDisconnectsUnlessDetached(t *testing.T) {
	for _, detached := range []bool{false, true} {
		ours, theirs := net.Pipe()
		sent := make(chan []byte, 1)
		go func() {
			b := make([]byte, 4096)
			n, _ := theirs.Read(b)
			if n > 0 {
				_, _ = theirs.Write(dapclient.Frame([]byte(`{"seq":1,"type":"response","request_seq":1,"success":true,"command":"disconnect"}`)))
			}
			sent <- b[:n]
		}()
		s := &session{client: dapclient.New(ours), detached: detached}
		if err := s.end(t.Context()); err != nil {
			t.Error(err)
		}
		if got := bytes.Contains(<-sent, []byte(`"terminateDebuggee":false`)); got == detached {
			t.Errorf("detached %v, disconnect sent %v", detached, got)
		}
		_ = theirs.Close()
	}
}
