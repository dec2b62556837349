//go:build linux

package supervisor_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// delveTool is the program of the Delve version that the worker contains.
const delveTool = "github.com/go-delve/delve/cmd/dlv@v1.27.2"

// foreignDlv is a running headless dlv, attached to a target.
type foreignDlv struct {
	t     testing.TB
	addr  string // in the form of supervisor.Dlv
	cmd   *exec.Cmd
	log   testenv.Buffer
	ended chan struct{}
}

// startDlv starts a dlv that attaches to the target, which stays halted, and listens
// on the address.
func startDlv(t testing.TB, b *busy, listen string, flags ...string) *foreignDlv {
	t.Helper()
	dlv := buildDlv(t)
	args := append([]string{"attach", fmt.Sprint(b.pid()), "--headless", "--listen", listen}, flags...)
	d := &foreignDlv{t: t, cmd: exec.Command(dlv, args...), ended: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	d.cmd.Stderr = &d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), "API server listening at: "); ok {
			d.addr = addr
			break
		}
	}
	go func() {
		defer close(d.ended)
		for lines.Scan() {
		}
		d.cmd.Wait()
	}()
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-d.ended
		if t.Failed() {
			t.Logf("dlv said:\n%s", d.log.String())
		}
	})
	if d.addr == "" {
		t.Fatal("dlv does not listen")
	}
	if filepath.IsAbs(d.addr) { // as dlv names a unix socket
		d.addr = "unix:" + d.addr
	}
	return d
}

// buildDlv builds dlv once and returns its path. A test with a deadline calls it before
// the deadline is set.
func buildDlv(t testing.TB) string {
	t.Helper()
	buildProgram(t)
	dlv := filepath.Join(program.dir, "dlv")
	if _, err := os.Stat(dlv); err == nil {
		return dlv
	}
	install := exec.Command("go", "install", delveTool)
	install.Env = append(os.Environ(), "GOBIN="+program.dir, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install dlv: %v\n%s", err, out)
	}
	return dlv
}

// halt returns another client of the dlv, with the target halted.
func (d *foreignDlv) halt() *rpc2.RPCClient {
	d.t.Helper()
	conn, err := supervisor.Dlv(d.addr).Dial(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	c := rpc2.NewClientFromConn(conn)
	for {
		state, err := c.GetStateNonBlocking()
		if err != nil {
			d.t.Fatal(err)
		}
		if !state.Running {
			return c
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Halt()
		}()
		select {
		case <-done:
		case <-time.After(500 * time.Millisecond): // Delve has lost it
		}
	}
}

// withClient calls f with halt's client and then resumes the target.
func (d *foreignDlv) withClient(f func(*rpc2.RPCClient)) {
	d.t.Helper()
	c := d.halt()
	f(c)
	if err := c.Disconnect(true); err != nil {
		d.t.Error(err)
	}
}

// mustBeUnchanged checks that a session has left the dlv and its target running, with
// no breakpoints except the dlv's own.
func (d *foreignDlv) mustBeUnchanged(b *busy, own int) {
	d.t.Helper()
	select {
	case <-d.ended:
		d.t.Fatalf("dlv has ended: %s", d.cmd.ProcessState)
	default:
	}
	b.mustBeat(5 * time.Second)
	if tracer, _, err := procfs.FindTracer(b.pid()); err != nil || tracer != d.cmd.Process.Pid {
		d.t.Errorf("the target's tracer is %d (%v), dlv is %d", tracer, err, d.cmd.Process.Pid)
	}
	d.withClient(func(c *rpc2.RPCClient) {
		points, err := c.ListBreakpoints(false)
		if err != nil {
			d.t.Error(err)
		}
		for _, bp := range points {
			if bp.ID > 0 && bp.ID != own {
				d.t.Errorf("a breakpoint is left: %+v", bp)
			}
			if bp.ID == own {
				own = 0
			}
		}
		if own != 0 {
			d.t.Error("the dlv's own breakpoint is gone")
		}
	})
	b.mustBeat(5 * time.Second)
}
