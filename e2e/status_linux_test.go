package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// daemonStatus is a daemon in the output of `dapbridge status -o json`.
type daemonStatus struct {
	PID    int    `json:"pid"`
	Listen string `json:"listen"`
	Node   string `json:"node"`
	Link   struct {
		State        string  `json:"state"`
		Milliseconds float64 `json:"milliseconds"`
	} `json:"link"`
	Target *struct {
		Name string `json:"name"`
		PID  int    `json:"pid"`
	} `json:"target"`
	Session *struct {
		Client   string     `json:"client"`
		Protocol string     `json:"protocol"`
		State    string     `json:"state"`
		Halted   *time.Time `json:"halted"`
		Risk     string     `json:"risk"`
	} `json:"session"`
	Sync *struct {
		Dir     string `json:"dir"`
		To      string `json:"to"`
		State   string `json:"state"`
		Error   string `json:"error"`
		Pending int    `json:"pending"`
		Last    *struct{ Files, Removed int }
	} `json:"sync"`
	Trouble []string                  `json:"trouble"`
	Silent  *struct{ Summary string } `json:"silent"`
}

// anyExit accepts every exit status.
const anyExit = -1

// status runs dapbridge status, checks the exit status, and returns the status of each
// daemon.
func (f *fixture) status(t testing.TB, exit int) []daemonStatus {
	t.Helper()
	cmd := f.command(t.Context(), userUID, "status", "-o", "json")
	out, err := cmd.Output()
	var r struct{ Daemons []daemonStatus }
	if cmd.ProcessState == nil || exit != anyExit && cmd.ProcessState.ExitCode() != exit || json.Unmarshal(out, &r) != nil {
		t.Fatalf("dapbridge status: %v, want exit status %d\n%s", err, exit, out)
	}
	return r.Daemons
}

// statusOf returns the status of the only running daemon.
func (f *fixture) statusOf(t testing.TB, exit int) daemonStatus {
	t.Helper()
	all := f.status(t, exit)
	if len(all) != 1 {
		t.Fatalf("%d daemons: %+v", len(all), all)
	}
	return all[0]
}

// controlSockets returns the control sockets of the user's daemons.
func (f *fixture) controlSockets(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(f.home, ".local/state/dapbridge/run/*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// checkWaiting checks the status of a daemon that waits for its first session.
func (st daemonStatus) checkWaiting(t *testing.T, s *server) {
	t.Helper()
	testenv.Equal(t, "pid", st.PID, s.cmd.Process.Pid)
	testenv.Equal(t, "address", st.Listen, s.addr)
	testenv.Equal(t, "state of the link", st.Link.State, "up")
	if st.Link.Milliseconds <= 0 {
		t.Errorf("the round trip takes %v ms", st.Link.Milliseconds)
	}
	if st.Target == nil {
		t.Fatal("no target")
	}
	testenv.Equal(t, "target", st.Target.Name, "containerd")
	testenv.Equal(t, "pid of the target", st.Target.PID, s.target)
	if st.Session != nil || st.Sync != nil || len(st.Trouble) > 0 {
		t.Errorf("session %+v, sync %+v, trouble %q, want none", st.Session, st.Sync, st.Trouble)
	}
}

// TestStatus checks the status of a daemon from its start until it is killed.
func TestStatus(t *testing.T) {
	f := setup(t)
	if all := f.status(t, 1); len(all) != 0 {
		t.Errorf("before one runs: %+v", all)
	}
	proxy, args := f.proxy(t)
	s := f.serveNode(t, append(args, "--lease", lease.String())...)
	st := f.statusOf(t, 0)
	st.checkWaiting(t, s)
	sockets := f.controlSockets(t)
	if len(sockets) != 1 {
		t.Fatalf("%q", sockets)
	}
	dir, _ := os.Stat(filepath.Dir(sockets[0]))
	if info, err := os.Stat(sockets[0]); err != nil || info.Mode() != fs.ModeSocket|0o600 || dir.Mode().Perm() != 0o700 {
		t.Errorf("%v in %v: %v", info.Mode(), dir.Mode(), err)
	}
	if conn, err := dialNetAs(otherUID, "unix", sockets[0]); err == nil {
		conn.Close()
		t.Error("another user can open the control socket")
	}

	i := s.ide(t)
	defer i.Close()
	haltTarget(t, f, i.Client)
	d := f.statusOf(t, 0).Session
	if d == nil || d.Halted == nil {
		t.Fatalf("no session, or no time at which it halted the target: %+v", d)
	}
	testenv.Equal(t, "state", d.State, "halted")
	testenv.Equal(t, "protocol", d.Protocol, "DAP")
	checkContains(t, "risk", d.Risk, "containerd has been halted for")
	checkContains(t, "client", d.Client, i.conn.LocalAddr().String())
	out, err := f.command(t.Context(), userUID, "status").CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	checkContains(t, "the status", string(out), "listen    "+s.addr, "up for ", "target    containerd, pid ", ": halted", "kubelet's calls to it time out after 2 minutes")
	if err := i.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	eventually(t, 10*time.Second, unless("the session has not ended", func() bool { return f.statusOf(t, 0).Session == nil }))

	proxy.Stall()
	eventually(t, 20*time.Second, unless("the link is not lost", func() bool {
		st = f.statusOf(t, anyExit)
		return st.Link.State == "lost" && len(st.Trouble) == 1
	}))
	proxy.Resume()
	s.checkServes(t)
	if st := f.statusOf(t, 0); st.Link.State != "up" {
		t.Errorf("%+v", st)
	}

	// A stopped daemon does not block the command, and a killed one is not listed.
	s.cmd.Process.Signal(syscall.SIGSTOP)
	if st := f.statusOf(t, 1); st.Silent == nil || st.PID != s.cmd.Process.Pid {
		t.Errorf("stopped: %+v", st)
	}
	s.cmd.Process.Signal(syscall.SIGCONT)
	s.kill()
	if names := f.controlSockets(t); !slices.Equal(names, sockets) {
		t.Errorf("%q, want %q", names, sockets)
	}
	if all := f.status(t, 1); len(all) > 0 || len(f.controlSockets(t)) > 0 {
		t.Errorf("killed: %+v", all)
	}
}
