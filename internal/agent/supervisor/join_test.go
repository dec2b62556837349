//go:build linux

package supervisor_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// A session begins as under sshd: with two pipes, and a process that hands them over.
func TestJoinByAProcess(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	token := api.NewToken()
	join := exec.Command("/proc/self/exe", api.JoinArgs(s.client.Hello().Socket, token)...)
	stdin, err := join.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := join.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	join.Stderr = &s.log
	if err := join.Start(); err != nil {
		t.Fatal(err)
	}
	defer join.Process.Kill()
	if _, err := s.client.Attach(ctx, api.AttachParams{Token: token}); err != nil {
		t.Fatal(err)
	}
	c := dapclient.New(struct {
		io.Reader
		io.WriteCloser
	}{stdout, stdin}, dapclient.Unordered())
	defer c.Close()
	if _, err := c.Attach(ctx, dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.EndSession(ctx); err != nil {
		t.Fatal(err)
	}
	b.mustBeFree()
	if err := join.Wait(); err != nil {
		t.Errorf("join: %v", err)
	}
}

func TestJoinWithAnotherToken(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	token := api.NewToken()
	attached := attachInBackground(ctx, s, token)
	for _, wrong := range []string{"", "x", token[1:], token + "x", api.NewToken()} {
		if _, err := s.join(ctx, wrong); err != nil {
			t.Fatal(err)
		}
	}
	checkJoinPending(ctx, t, s, token, attached)
}

// attachInBackground attaches to the target for the session with the given token; the
// result arrives once somebody has joined the session.
func attachInBackground(ctx context.Context, s *agentProcess, token string) <-chan error {
	attached := make(chan error, 1)
	go func() {
		_, err := s.client.Attach(ctx, api.AttachParams{Token: token})
		attached <- err
	}()
	return attached
}

// checkJoinPending checks that nobody has joined the session yet, and that one with the
// right token can.
func checkJoinPending(ctx context.Context, t *testing.T, s *agentProcess, token string, attached <-chan error) {
	t.Helper()
	select {
	case err := <-attached:
		t.Fatalf("a session began without its token: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	sess, err := s.join(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-attached; err != nil {
		t.Fatal(err)
	}
	if _, err := sess.Attach(ctx, dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	sess.end(ctx)
}

// A second peer with a session's token is refused, and the session continues.
func TestJoinTwice(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	token := api.NewToken()
	first, err := s.join(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.join(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	var refusal error
	select {
	case refusal = <-second.joinErr:
	case refusal = <-first.joinErr: // the second was faster
		first = second
	}
	if refusal == nil || !strings.Contains(refusal.Error(), "no such session") {
		t.Errorf("the second join: %v", refusal)
	}
	if _, err := s.client.Attach(ctx, api.AttachParams{Token: token}); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Attach(ctx, dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	first.end(ctx)
}

// A join survives a worker that is about to exit.
func TestJoinMeetsALeavingWorker(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	for range 5 {
		s.start(ctx, 0)
		tracer := s.workerPID()
		token, before := api.NewToken(), openFiles(t, tracer)
		next, err := s.join(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		if !testenv.Eventually(5*time.Second, func() bool { return openFiles(t, tracer) >= before+3 }) {
			t.Fatal("the current worker does not accept the descriptors")
		}
		if _, err := s.client.EndSession(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.client.Attach(ctx, api.AttachParams{Token: token}); err != nil {
			t.Fatal(err)
		}
		if _, err := next.Attach(ctx, dapclient.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		if now := s.workerPID(); now == tracer {
			t.Fatalf("pid %d serves both sessions", now)
		}
		next.end(ctx)
	}
}

func TestJoinByAnotherUser(t *testing.T) {
	testenv.NeedsRoot(t, "only root can be another user")
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	token := api.NewToken()
	attached := attachInBackground(ctx, s, token)
	socket := &net.UnixAddr{Net: "unixpacket", Name: s.client.Hello().Socket}
	var conn *net.UnixConn
	asUser(t, 65534, func() (err error) {
		conn, err = net.DialUnix("unixpacket", nil, socket)
		return err
	})
	defer conn.Close()
	_, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	conn.WriteMsgUnix([]byte(token), syscall.UnixRights(int(theirs.Fd()), int(theirs.Fd())), nil)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the worker answers another user: %d bytes, %v", n, err)
	}
	checkJoinPending(ctx, t, s, token, attached)
}

// A session's descriptors are not sent to a listener of another user.
func TestJoinRefusesAnotherUsersSocket(t *testing.T) {
	testenv.NeedsRoot(t, "only root can be another user")
	addr := &net.UnixAddr{Net: "unixpacket", Name: "@dapbridge-" + api.NewToken()}
	var ln *net.UnixListener
	asUser(t, 65534, func() (err error) {
		ln, err = net.ListenUnix("unixpacket", addr)
		return err
	})
	defer ln.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	if err := supervisor.Join(shortContext(t), addr.Name, "token", theirs, theirs); err == nil || !strings.Contains(err.Error(), "user 65534") {
		t.Errorf("join: %v", err)
	}
}

// asUser runs f with the effective user uid, of this thread only: it bypasses Go's
// syscall package, which would change all threads.
func asUser(t *testing.T, uid int, f func() error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	seteuid := func(uid int) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			t.Fatal(errno)
		}
	}
	seteuid(uid)
	err := f()
	seteuid(0)
	if err != nil {
		t.Fatal(err)
	}
}

func TestJoinWithoutAnAgent(t *testing.T) {
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	start := time.Now()
	err = supervisor.Join(shortContext(t), "@dapbridge-"+api.NewToken(), "token", theirs, theirs)
	if err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("join: %v after %s", err, time.Since(start))
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	supervisor.Join(ctx, s.client.Hello().Socket, api.NewToken(), theirs, theirs)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("join ends after %s", took)
	}
	if tracer, _, err := procfs.FindTracer(b.pid()); err != nil || tracer != 0 {
		t.Errorf("a join alone attaches: %d, %v", tracer, err)
	}
}
