//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc/jsonrpc"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Dlv is the address of a headless dlv on the node that somebody else has started:
// HOST:PORT of a loopback address, or unix:PATH. It is used instead of the worker's own
// Delve, and left running. "" means none.
type Dlv string

// dlvTimeout bounds how long a dlv may take to answer, idleTimeout how long it may
// take to close the connection of a client that has disconnected.
const (
	dlvTimeout  = 5 * time.Second
	idleTimeout = time.Second
)

// dlvModule is the path of the main module of dlv.
const dlvModule = "github.com/go-delve/delve"

// Dial connects to the dlv.
func (d Dlv) Dial(ctx context.Context) (net.Conn, error) {
	network, addr := "tcp", string(d)
	if path, isUnix := strings.CutPrefix(addr, "unix:"); isUnix {
		network, addr = "unix", path
	}
	return (&net.Dialer{Timeout: dlvTimeout}).DialContext(ctx, network, addr)
}

// inspect returns the process that listens, and the pid of its target, or why this dlv
// cannot be used. It connects only to a dlv known to accept several clients: any other
// would exit with its first connection, and kill a target that it has started.
func (d Dlv) inspect() (l procfs.Listener, targetPID int, err error) {
	l, err = procfs.FindListener(string(d))
	switch {
	case errors.Is(err, procfs.ErrNoListener):
		return l, 0, d.newError("nothing listens on %s on the node", d).
			WithHint("start it there as root: dlv attach PID --headless --accept-multiclient --listen %s", d)
	case err != nil:
		return l, 0, d.newError("%w", err).WithHint("write the address as 127.0.0.1:PORT, [::1]:PORT or unix:PATH")
	}
	b, err := procfs.InspectExe(l.PID, (*exe.File).Build)
	switch {
	case err != nil || b.ModulePath != dlvModule:
		return l, 0, d.newError("the process that listens on %s is not dlv but pid %d (%s)", d, l.PID, strings.Join(l.Args, " "))
	case !acceptsMulti(l.Args):
		return l, 0, d.newError("the dlv on %s (pid %d) was started without --accept-multiclient: it would exit after the first session, and kill a target that it has started", d, l.PID).
			WithHint("start it again with --accept-multiclient, or leave out --dlv-addr: dapbridge has its own debugger")
	case int(l.UID) != os.Geteuid():
		return l, 0, d.newError("the dlv on %s (pid %d) runs as user %d and refuses connections from other users", d, l.PID, l.UID).
			WithHint("run it as root")
	}
	if err := d.checkVersion(l.PID); err != nil {
		return l, 0, err
	}
	traced, err := procfs.FindTracees(l.PID)
	switch {
	case err != nil:
		return l, 0, err
	case len(traced) != 1:
		return l, 0, d.newError("the dlv on %s (pid %d) traces %d processes, not one", d, l.PID, len(traced))
	}
	return l, traced[0], nil
}

// isBusy reports whether the dlv has a client. It waits a moment for one that has just
// disconnected: dlv closes a unix socket only once it notices.
func (d Dlv) isBusy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, idleTimeout)
	defer cancel()
	for {
		l, err := procfs.FindListener(string(d))
		if err != nil || l.Clients == 0 {
			return false
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(leavePause):
		}
	}
}

// isTracing reports whether the dlv still traces its target. It waits for a killed dlv
// to disappear: the kernel may close its connections before it detaches the target
// (Linux's kernel/exit.c, do_exit: exit_files comes before exit_notify).
func (d Dlv) isTracing(pid int) bool {
	for deadline := time.Now().Add(dlvTimeout); ; time.Sleep(leavePause) {
		tracer, _, err := procfs.FindTracer(pid)
		if err != nil || tracer == 0 {
			return false
		}
		if d.checkVersion(tracer) == nil || time.Now().After(deadline) {
			return true
		}
	}
}

func (d Dlv) newError(format string, args ...any) *diag.Error {
	return diag.Errorf(diag.DlvUnusable, format, args...)
}

// acceptsMulti reports whether the command line of a dlv has --accept-multiclient.
func acceptsMulti(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i] // the target's arguments follow
	}
	multi := false
	for _, arg := range args {
		if value, found := strings.CutPrefix(arg, "--accept-multiclient"); found {
			on, err := strconv.ParseBool(strings.TrimPrefix(value, "="))
			multi = value == "" || err == nil && on
		}
	}
	return multi
}

// checkVersion checks the version of the API (Delve's service/rpccommon,
// RPCServer.GetVersion), and that the dlv accepts several clients. dlv answers these
// calls even while the target runs.
func (d Dlv) checkVersion(pid int) error {
	ctx, cancel := context.WithTimeout(context.Background(), dlvTimeout)
	defer cancel()
	conn, err := d.Dial(ctx)
	if err != nil {
		return d.newError("the dlv on %s (pid %d) cannot be reached: %w", d, pid, err)
	}
	conn.SetDeadline(time.Now().Add(dlvTimeout))
	client := jsonrpc.NewClient(conn)
	defer client.Close()
	var version struct {
		DelveVersion string
		APIVersion   int
	}
	var multi struct{ IsMulticlient bool }
	err = client.Call("RPCServer.GetVersion", struct{}{}, &version)
	if err == nil {
		err = client.Call("RPCServer.IsMulticlient", struct{}{}, &multi)
	}
	switch {
	case err != nil:
		return d.newError("the dlv on %s (pid %d) does not answer: %w", d, pid, err)
	case version.APIVersion != 2:
		return d.newError("the dlv on %s (pid %d) has API version %d, not 2", d, pid, version.APIVersion)
	case !multi.IsMulticlient:
		return d.newError("the dlv on %s (pid %d) accepts one client only", d, pid)
	}
	return nil
}

// findTarget returns the dlv's target if it is the one that the user selected; the
// zero sel matches any. If idle is set, the dlv must not have a client.
func (d Dlv) findTarget(ctx context.Context, sel api.Selector, idle bool) (api.Process, error) {
	busy := idle && d.isBusy(ctx)
	l, targetPID, err := d.inspect()
	if err != nil {
		return api.Process{}, err
	}
	if busy {
		return api.Process{}, diag.Errorf(diag.SessionBusy, "the dlv on %s (pid %d) already has a client: two clients would lose each other's breakpoints and stops", d, l.PID).
			WithHint("disconnect the other client first")
	}
	if sel != (api.Selector{}) {
		named, err := procfs.Find(ctx, sel)
		if err != nil {
			return api.Process{}, err
		}
		if named.PID != targetPID {
			return api.Process{}, d.newError("the dlv on %s (pid %d) debugs pid %d, not %s", d, l.PID, targetPID, describe(named)).
				WithHint("leave out --target and --pid, or give the address of that process's dlv")
		}
	}
	return procfs.Find(ctx, api.Selector{PID: targetPID})
}

func describe(p api.Process) string { return fmt.Sprintf("pid %d (%s)", p.PID, p.Exe) }
