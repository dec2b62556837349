package e2e

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestIDELeaves ends the IDE in every way, in every situation in which that could harm the
// target. One daemon serves all sessions.
func TestIDELeaves(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	for _, tt := range []struct {
		name      string
		situation situation
		ways      []way
	}{
		{"halted", haltTarget, ways()},
		{"running", runUnderLoad, ways()},
		{"attach asked for", sendAttach, ways()[1:]},
		{"attaching", waitAttach, ways()[1:]},
		{"stepping", stepOverLongCall, ways()[:2]},
		{"calling", runInjectedCall, ways()[:2]},
	} {
		for _, w := range tt.ways {
			t.Run(tt.name+"/"+w.name, func(t *testing.T) {
				pid := f.containerd(t)
				i := s.ide(t)
				defer i.Close() // before the pod is removed, which a halted target would not do
				pod := tt.situation(t, f, i.Client)
				w.leave(t, i)
				f.waitFree(t, pid, 10*time.Second)
				f.checkWorks(t, pod)
			})
		}
	}
	s.checkServes(t)
}

// ide is a client whose connection can end in other ways than by Close.
type ide struct {
	*dapclient.Client
	conn *net.TCPConn
}

func (s *server) ide(t *testing.T) *ide {
	t.Helper()
	conn, err := dialAs(userUID, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	return &ide{dapclient.New(conn), conn.(*net.TCPConn)}
}

// way is one in which an IDE ends.
type way struct {
	name  string
	leave func(*testing.T, *ide)
}

func ways() []way {
	return []way{
		{"disconnect", func(t *testing.T, i *ide) {
			if err := i.Disconnect(short(t), false); err != nil {
				t.Error(err)
			}
		}},
		{"closed", func(_ *testing.T, i *ide) { i.Close() }},
		{"reset", func(_ *testing.T, i *ide) {
			i.conn.SetLinger(0)
			i.Close()
		}},
		{"killed", killed},
	}
}

// killed ends the only process that holds the connection by SIGKILL.
func killed(t *testing.T, i *ide) { killedConn(t, i.conn) }

func killedConn(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// File would make the descriptor blocking, and with it the connection: Close would
	// then wait for a read.
	var fd int
	if cerr := raw.Control(func(c uintptr) { fd, err = unix.FcntlInt(c, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	file := os.NewFile(uintptr(fd), "connection")
	defer file.Close()
	holder := exec.Command("sleep", "1000")
	holder.ExtraFiles = []*os.File{file}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	conn.Close()
	holder.Process.Kill()
	holder.Wait()
}

// TestLogpointAtEnd ends sessions while Delve resumes the target all the time because of
// a hot logpoint.
func TestLogpointAtEnd(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	f.load(t)
	for n := range 8 {
		i := s.ide(t)
		f.setHot(t, i.Client)
		ways()[n%2].leave(t, i)
		i.Close()
		f.waitFree(t, pid, 5*time.Second)
	}
	s.checkServes(t)
}

// TestDaemonEnds ends the daemon by signals.
func TestDaemonEnds(t *testing.T) {
	f := setup(t)
	for _, tt := range []struct {
		signal syscall.Signal
		status int
	}{{syscall.SIGTERM, 0}, {syscall.SIGINT, 0}, {syscall.SIGKILL, -1}} {
		for name, begin := range map[string]situation{"halted": haltTarget, "running": runUnderLoad} {
			t.Run(name+"/"+tt.signal.String(), func(t *testing.T) {
				pid := f.containerd(t)
				s := f.serve(t)
				i := s.ide(t)
				defer i.Close()
				pod := begin(t, f, i.Client)
				s.cmd.Process.Signal(tt.signal)
				if status := s.exit(t, 15*time.Second); status != tt.status {
					t.Errorf("exit status %d", status)
				}
				f.waitFree(t, pid, 5*time.Second)
				f.waitDeserted(t, 5*time.Second)
				f.checkWorks(t, pod)
			})
		}
	}
}

// TestDaemonFollowsAnother starts a daemon and a session immediately after another
// daemon was killed, whose agent has not released the target yet.
func TestDaemonFollowsAnother(t *testing.T) {
	f := setup(t)
	for name, begin := range map[string]situation{"halted": haltTarget, "running": runUnderLoad, "calling": runInjectedCall} {
		t.Run(name, func(t *testing.T) {
			pid := f.containerd(t)
			s := f.serve(t)
			i := s.ide(t)
			defer i.Close()
			pod := begin(t, f, i.Client)
			s.kill()
			f.serve(t).checkServes(t)
			f.waitFree(t, pid, 5*time.Second)
			f.checkWorks(t, pod)
		})
	}
}

// exit waits for the daemon to end and returns its exit status, or -1 if a signal ended
// it.
func (s *server) exit(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(within):
		t.Fatalf("the daemon has not ended within %s", within)
	}
	var exit *exec.ExitError
	if s.err != nil && !errors.As(s.err, &exit) {
		t.Fatal(s.err)
	}
	return s.cmd.ProcessState.ExitCode()
}
