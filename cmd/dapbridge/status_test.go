package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/daemon"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
)

// TestPrintStatus compares the text output with its golden file, with a node that tries
// to control the terminal.
func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.Local)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	halted := before(150 * time.Second)
	well := daemon.Daemon{Status: daemon.Status{
		PID: 4711, Since: before(2 * time.Hour), Listen: "127.0.0.1:2345", Root: "/home/you/src/containerd", Node: "minikube",
		Link:   daemon.LinkStatus{State: daemon.LinkUp, Since: before(time.Hour), Milliseconds: 0.42},
		Target: &daemon.TargetStatus{Name: "containerd\x1b[2J\n", PID: 812, Module: "github.com/containerd/containerd/v2", Version: "v2.4.2"},
		Sync: &daemon.SyncStatus{Dir: "/home/you/src/containerd", To: "/go/src/containerd", State: daemon.SyncWatching, Pending: 0,
			Last: &daemon.SyncRun{At: before(3 * time.Second), Files: 1, Bytes: 5000, Seconds: 0.01}},
		Warning: &daemon.Warning{At: before(time.Minute), Text: "a file was edited on the node"},
	}}
	bad := daemon.Daemon{Status: daemon.Status{
		PID: 4712, Since: before(time.Minute), Listen: "stdio", Root: "/src", Node: "dev",
		Link:    daemon.LinkStatus{State: daemon.LinkLost, Since: before(20 * time.Second)},
		Session: &daemon.SessionStatus{Client: "GoLand", Process: "pid 9 (goland)", Protocol: "DAP", Since: before(time.Hour), State: bridge.Halted, Halted: &halted, Risk: "kubelet's calls to it are timing out"},
		Sync: &daemon.SyncStatus{Dir: "/src", To: "/d", State: daemon.SyncWaiting, Pending: -1, Error: "no route",
			Last: &daemon.SyncRun{At: before(time.Hour), Failed: []filesync.PathProblem{{Path: "a\nb", Reason: "no space"}}}},
		Trouble: []string{"the link to the node is lost"},
	}}
	silent := daemon.Daemon{Status: daemon.Status{PID: 4713}, Silent: diag.Errorf(diag.DaemonSilent, "dapbridge serve, pid 4713: no answer")}
	var b bytes.Buffer
	printStatus(&b, []daemon.Daemon{well, bad, silent}, now)
	checkGolden(t, "status/text.txt", b.Bytes())
	for i, tt := range []struct {
		all  []daemon.Daemon
		want exitStatus
	}{{nil, 1}, {[]daemon.Daemon{well}, 0}, {[]daemon.Daemon{well, bad}, 1}, {[]daemon.Daemon{silent}, 1}} {
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
