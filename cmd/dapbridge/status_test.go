package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/serve"
	"github.com/dapbridge/dapbridge/internal/host/srcsync"
)

// TestPrintStatus compares the text output with its golden file, with a node that tries
// to control the terminal.
func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.Local)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	halted := before(150 * time.Second)
	well := serve.Daemon{Status: serve.Status{
		PID: 4711, Since: before(2 * time.Hour), Listen: "127.0.0.1:2345", Root: "/home/you/src/containerd", Node: "minikube",
		Link:   serve.LinkStatus{State: serve.LinkUp, Since: before(time.Hour), Milliseconds: 0.42},
		Target: &serve.TargetStatus{Name: "containerd\x1b[2J\n", PID: 812, Module: "github.com/containerd/containerd/v2", Version: "v2.4.2"},
		Sync: &srcsync.Status{Dir: "/home/you/src/containerd", To: "/go/src/containerd", State: srcsync.Watching, Pending: 0,
			Last: &srcsync.LastRun{At: before(3 * time.Second), Files: 1, Bytes: 5000, Seconds: 0.01}},
		Warning: &serve.Warning{At: before(time.Minute), Text: "a file was edited on the node"},
	}}
	bad := serve.Daemon{Status: serve.Status{
		PID: 4712, Since: before(time.Minute), Listen: "stdio", Root: "/src", Node: "dev",
		Link:    serve.LinkStatus{State: serve.LinkLost, Since: before(20 * time.Second)},
		Session: &serve.SessionStatus{Client: "GoLand", Process: "pid 9 (goland)", Protocol: "DAP", Since: before(time.Hour), State: bridge.Halted, Halted: &halted, Risk: "kubelet's calls to it are timing out"},
		Sync: &srcsync.Status{Dir: "/src", To: "/d", State: srcsync.Waiting, Pending: -1, Error: "no route",
			Last: &srcsync.LastRun{At: before(time.Hour), Failed: []filesync.PathProblem{{Path: "a\nb", Reason: "no space"}}}},
		Trouble: []string{"the link to the node is lost"},
	}}
	silent := serve.Daemon{Status: serve.Status{PID: 4713}, Silent: diag.Errorf(diag.DaemonSilent, "dapbridge serve, pid 4713: no answer")}
	var b bytes.Buffer
	printStatus(&b, []serve.Daemon{well, bad, silent}, now)
	checkGolden(t, "status/text.txt", b.Bytes())
	for i, tt := range []struct {
		all  []serve.Daemon
		want exitStatus
	}{{nil, 1}, {[]serve.Daemon{well}, 0}, {[]serve.Daemon{well, bad}, 1}, {[]serve.Daemon{silent}, 1}} {
		status := exitStatus(0)
		if errors.As(checkDaemons(tt.all), &status); status != tt.want {
			t.Errorf("%d: exit status %d, want %d", i, status, tt.want)
		}
	}
}

// TestStatusOfNothing checks the output without daemons.
func TestStatusOfNothing(t *testing.T) {
	for name, value := range map[string]string{"HOME": t.TempDir(), "XDG_STATE_HOME": "", "XDG_RUNTIME_DIR": t.TempDir()} {
		t.Setenv(name, value)
	}
	if status, out, err := invoke(t, "status"); status != 1 || out != "no dapbridge serve is running\n" || err != "" {
		t.Errorf("got the exit status %d, %q, %q", status, out, err)
	}
	if status, out, _ := invoke(t, "status", "-o", "json"); status != 1 || out != "{\"daemons\":[]}\n" {
		t.Errorf("%d, %q", status, out)
	}
}
