//go:build linux

package supervisor_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dlvapi "github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestDlv runs sessions on a running dlv, over TCP and a unix socket, with both
// protocols, and ends them in every way.
func TestDlv(t *testing.T) {
	testenv.SkipShort(t, "it runs many sessions of another debugger")
	socket := filepath.Join(t.TempDir(), "dlv.sock")
	for _, listen := range []string{"127.0.0.1:0", "unix:" + socket} {
		network, _, _ := strings.Cut(listen, ":")
		t.Run(network, func(t *testing.T) {
			buildDlv(t)
			ctx := shortContext(t)
			b := startBusy(t)
			d := startDlv(t, b, listen, "--accept-multiclient")
			var own *dlvapi.Breakpoint
			d.withClient(func(c *rpc2.RPCClient) {
				var err error
				if own, err = c.CreateBreakpoint(&dlvapi.Breakpoint{File: program.source, Line: b.line("answer")}); err != nil {
					t.Fatal(err)
				}
			})
			s := startSupervisor(t, b, config{dlv: d.addr})
			if h := s.client.Hello(); h.Target == nil || h.Target.PID != b.pid() || h.TargetError != nil {
				t.Fatalf("hello: %+v, %v", h.Target, h.TargetError)
			}

			sess := s.start(ctx, 0)
			sess.stopAt(ctx, "slow: before")
			if err := sess.Disconnect(ctx, false); err != nil {
				t.Error(err)
			}
			s.endForeign(ctx, sess)
			d.mustBeUnchanged(b, own.ID)

			sess = s.start(ctx, 0) // it runs, and is ended without notice
			s.endForeign(ctx, sess)
			d.mustBeUnchanged(b, own.ID)

			sess = s.start(ctx, 0)
			sess.stopAt(ctx, "slow: before")
			sess.Client.Close() // like an IDE that is killed
			if e := s.waitEnded(ctx); e.Lingers || strings.Contains(e.Reason, "dlv") {
				t.Errorf("ended: %+v", e)
			}
			d.mustBeUnchanged(b, own.ID)

			s.rpcOnDlv(ctx, t)
			d.mustBeUnchanged(b, own.ID)

			sess = s.start(ctx, 0)
			sess.stopAt(ctx, "slow: before")
			s.stdin.Close() // like a daemon that is killed
			s.waitExit(t, 10*time.Second)
			d.mustBeUnchanged(b, own.ID)

			s = startSupervisor(t, b, config{dlv: d.addr})
			s.start(ctx, 0) // a dlv that is killed leaves its breakpoint in the text
			d.cmd.Process.Kill()
			s.waitEnded(ctx)
			b.waitUntilFree(5 * time.Second)
		})
	}
}

// endForeign ends the session as the daemon does.
func (s *agentProcess) endForeign(ctx context.Context, sess *session) {
	s.t.Helper()
	if _, err := s.client.EndSession(ctx); err != nil {
		s.t.Errorf("end: %v", err)
	}
	sess.mustHaveEnded(ctx)
}

// rpcOnDlv runs a session of Delve's JSON-RPC that is halted at its end.
func (s *agentProcess) rpcOnDlv(ctx context.Context, t *testing.T) {
	t.Helper()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	token, joined := api.NewToken(), make(chan error, 1)
	go func() {
		defer theirs.Close()
		joined <- supervisor.Join(context.WithoutCancel(ctx), s.client.Hello().Socket, token, theirs, theirs)
	}()
	if _, err := s.client.Attach(ctx, api.AttachParams{Token: token, Protocol: api.JSONRPC}); err != nil {
		t.Fatal(err)
	}
	c := rpc2.NewClientFromConn(ours)
	if _, err := c.CreateBreakpoint(&dlvapi.Breakpoint{File: program.source, Line: s.target.line("slow: before")}); err != nil {
		t.Fatal(err)
	}
	state := <-c.Continue()
	if state.Err != nil || state.CurrentThread == nil || state.CurrentThread.Line != s.target.line("slow: before") {
		t.Fatalf("%+v", state)
	}
	if _, err := s.client.EndSession(ctx); err != nil {
		t.Errorf("end: %v", err)
	}
	if err := <-joined; err != nil {
		t.Errorf("join: %v", err)
	}
	c.Disconnect(false)
}

// TestDlvRefused refuses a dlv that cannot be used, and leaves it unchanged.
func TestDlvRefused(t *testing.T) {
	buildDlv(t)
	ctx := shortContext(t)
	b := startBusy(t)
	checkRefused := func(addr string, code diag.Code, parts ...string) {
		t.Helper()
		s := startSupervisor(t, b, config{dlv: addr})
		err := s.client.Hello().TargetError
		if err == nil || err.Code != code {
			t.Errorf("%s: %v", addr, err)
			return
		}
		for _, part := range parts {
			if !strings.Contains(err.Summary+"\n"+err.Hint, part) {
				t.Errorf("%s: %q does not contain %q", addr, err.Summary+"\n"+err.Hint, part)
			}
		}
	}
	checkRefused("127.0.0.1:1", diag.DlvUnusable, "nothing listens on 127.0.0.1:1", "--accept-multiclient")
	for _, addr := range []string{"10.0.0.1:4000", "localhost:4000", "4000"} {
		checkRefused(addr, diag.DlvUnusable, "neither a loopback HOST:PORT nor unix:PATH", "127.0.0.1:PORT")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	checkRefused(ln.Addr().String(), diag.DlvUnusable, "is not dlv but pid "+fmt.Sprint(os.Getpid()))

	single := startDlv(t, b, "127.0.0.1:0")
	checkRefused(single.addr, diag.DlvUnusable, "without --accept-multiclient", "start it again")
	select {
	case <-single.ended:
		t.Fatal("dlv has ended")
	case <-time.After(time.Second):
	}
	conn, err := net.Dial("tcp", single.addr) // it still waits for its only client
	if err != nil {
		t.Fatal(err)
	}
	if err := rpc2.NewClientFromConn(conn).Detach(false); err != nil {
		t.Fatal(err)
	}
	<-single.ended
	b.waitUntilFree(5 * time.Second)

	other := startBusy(t)
	d := startDlv(t, other, "127.0.0.1:0", "--accept-multiclient")
	checkRefused(d.addr, diag.DlvUnusable, fmt.Sprintf("debugs pid %d, not pid %d", other.pid(), b.pid()))
	s := startSupervisor(t, other, config{dlv: d.addr})
	client, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := s.open(ctx, 0); diag.CodeOf(err) != diag.SessionBusy {
		t.Errorf("a dlv with a client: %v", err)
	}
	client.Close()
	s.endForeign(ctx, s.start(ctx, 0))
	d.mustBeUnchanged(other, 0)
}
