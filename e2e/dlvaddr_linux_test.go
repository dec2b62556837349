package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-delve/delve/service/rpc2"
)

// ownDlv is a headless dlv that somebody else has attached to containerd on the node.
type ownDlv struct {
	cmd    *exec.Cmd
	socket string // as the node sees it
	f      *fixture
	ending sync.Once
}

// startOwnDlv starts it. At the end of the test it detaches and exits.
func (f *fixture) startOwnDlv(t *testing.T, pid int) *ownDlv {
	t.Helper()
	f.installDelve(t)
	d := &ownDlv{socket: "/run/own-dlv.sock", f: f}
	d.cmd = f.node.Command(context.Background(), delveOnNode, "attach", strconv.Itoa(pid),
		"--headless", "--accept-multiclient", "--listen", "unix:"+d.socket)
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.ending.Do(func() { d.end(t) }) })
	lines := bufio.NewScanner(out)
	defer time.AfterFunc(time.Minute, func() { d.cmd.Process.Kill() }).Stop()
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "API server listening at: ") {
			go func() {
				for lines.Scan() {
				}
			}()
			return d
		}
	}
	t.Fatal("dlv does not listen")
	return nil
}

// end makes it detach from containerd, and waits until it exits.
func (d *ownDlv) end(t *testing.T) {
	conn, err := net.Dial("unix", filepath.Join(d.f.node.RootFS(), d.socket))
	if err == nil {
		conn.SetDeadline(time.Now().Add(time.Minute)) // Delve may lose a halt
		c := rpc2.NewClientFromConn(conn)
		if state, err := c.GetStateNonBlocking(); err == nil && state.Running {
			c.Halt()
		}
		err = c.Detach(false)
	}
	if err != nil {
		t.Error(err)
		d.cmd.Process.Kill()
	}
	d.cmd.Wait()
}

// TestDlvAddr debugs containerd through a dlv that is attached already, and stays
// attached.
func TestDlvAddr(t *testing.T) {
	f := setupAll(t)
	pid := f.containerd(t)
	f.runFailing(t, failure{4, "nothing listens on unix:/run/own-dlv.sock", "--accept-multiclient"},
		append([]string{"serve", "--listen", "127.0.0.1:0", "--dlv-addr", "unix:/run/own-dlv.sock"}, f.nodeArgs()...)...)
	d := f.startOwnDlv(t, pid)
	var tracer int
	eventually(t, 10*time.Second, func() string { // it listens before it attaches
		var err error
		if tracer, err = f.node.TracerPid(t.Context(), pid); err != nil || tracer == 0 {
			return fmt.Sprintf("containerd's tracer: %d, %v", tracer, err)
		}
		return ""
	})
	same := func() {
		t.Helper()
		if now, err := f.node.TracerPid(t.Context(), pid); err != nil || now != tracer {
			t.Errorf("containerd's tracer is %d (%v), was %d", now, err, tracer)
		}
	}
	s := f.serve(t, "--dlv-addr", "unix:"+d.socket)
	if s.target != pid {
		t.Errorf("the target is %d, containerd is %d", s.target, pid)
	}
	c := s.dial(t)
	pod := haltTarget(t, f, c)
	if err := c.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	f.checkWorks(t, pod)
	same()
	pod = haltTarget(t, f, s.dial(t))
	s.kill()
	f.checkWorks(t, pod)
	same()
	f.waitDeserted(t, 5*time.Second)
	d.ending.Do(func() { d.end(t) })
	f.waitFree(t, pid, 5*time.Second)
}
