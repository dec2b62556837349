//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// releasePrefix starts a request to release the target; the reason follows it. No token
// starts with it ([api.NewToken]). Agents of other versions send it and understand it:
// it must not change.
const releasePrefix = "let go: "

// reasonLimit bounds the reason in bytes.
const reasonLimit = 512

// releaseRequestTimeout bounds how long a worker may take to release its target.
const releaseRequestTimeout = time.Minute

// FindSession returns the name of the daemon whose agent traces a process, "" if
// nobody traces it. Any other tracer is an error with the code diag.TargetTraced.
func FindSession(pid int) (by string, err error) {
	tracer, comm, err := procfs.FindTracer(pid)
	switch {
	case err != nil || tracer == 0:
		return "", nil // or the process has exited
	case comm != workerCommand:
		return "", NewTracedError(pid, tracer, comm)
	}
	if by = findDaemonName(tracer); by == "" {
		by = fmt.Sprintf("pid %d on the node", tracer)
	}
	return by, nil
}

// ReleaseTarget blocks until nobody traces a process. A dapbridge worker that traces it
// is asked to end its session properly, and the session's user sees the reason. Any
// other tracer is an error, as in [FindSession]; the error's code is diag.TargetBusy if
// the worker does not release the target in time.
func ReleaseTarget(ctx context.Context, pid int, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, releaseRequestTimeout)
	defer cancel()
	for requested := 0; ; {
		tracer, comm, err := procfs.FindTracer(pid)
		if err != nil || tracer == 0 {
			return nil
		}
		if comm != workerCommand {
			return NewTracedError(pid, tracer, comm)
		}
		// A worker that is exiting may not answer, and another one may have attached since.
		if tracer != requested && requestRelease(ctx, tracer, reason) == nil {
			requested = tracer
		}
		select {
		case <-ctx.Done():
			return NewTracedError(pid, tracer, comm)
		case <-time.After(leavePause):
		}
	}
}

// requestRelease returns nil once the worker has accepted the request.
func requestRelease(ctx context.Context, worker int, reason string) error {
	names, err := procfs.ListUnixListeners(worker)
	if err != nil {
		return err
	}
	err = diag.Errorf(diag.Internal, "pid %d does not listen on a worker's socket", worker)
	for _, name := range names {
		if !strings.HasPrefix(name, joinSocketPrefix) {
			continue
		}
		if err = sendReleaseRequest(ctx, name, reason); err == nil {
			return nil
		}
	}
	return err
}

func sendReleaseRequest(ctx context.Context, socket, reason string) error {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: socket})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := checkSameUser(conn); err != nil {
		return err
	}
	if len(reason) > reasonLimit {
		reason = reason[:reasonLimit]
	}
	if _, err := conn.Write([]byte(releasePrefix + reason)); err != nil {
		return err
	}
	conn.SetReadDeadline(time.Now().Add(joinTimeout))
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil {
		return err
	}
	if answer[0] != joinAccepted {
		return errors.New("the worker refuses the request")
	}
	return nil
}
