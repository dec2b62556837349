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

// letGo begins what is sent to a worker that is to let its target go; the reason
// follows. No token begins so ([NewToken]).
const releasePrefix = "let go: "

// reasonLimit bounds the reason, in bytes.
const reasonLimit = 512

// letGoTimeout bounds how long a worker may take to let its target go.
const releaseRequestTimeout = time.Minute

// Session says who debugs a process by a dapbridge, "" if nobody traces it. Any
// other tracer is an error, with the code diag.TargetTraced.
func FindSession(pid int) (by string, err error) {
	tracer, comm, err := procfs.FindTracer(pid)
	switch {
	case err != nil || tracer == 0:
		return "", nil // of a process that has ended too
	case comm != workerCommand:
		return "", NewTracedError(pid, tracer, comm)
	}
	if by = findDaemonName(tracer); by == "" {
		by = fmt.Sprintf("pid %d on the node", tracer)
	}
	return by, nil
}

// LetGo returns when nobody traces a process any more. If a dapbridge's worker
// does, that is asked to end its session in its own order, and the session's user
// is told the reason. Another tracer is an error, as for [Session]; a worker that
// does not let go in time is one with the code diag.TargetBusy.
func ReleaseTarget(ctx context.Context, pid int, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, releaseRequestTimeout)
	defer cancel()
	for asked := 0; ; {
		tracer, comm, err := procfs.FindTracer(pid)
		if err != nil || tracer == 0 {
			return nil
		}
		if comm != workerCommand {
			return NewTracedError(pid, tracer, comm)
		}
		// One that leaves may not answer, and another may have come.
		if tracer != asked && requestRelease(ctx, tracer, reason) == nil {
			asked = tracer
		}
		select {
		case <-ctx.Done():
			return NewTracedError(pid, tracer, comm)
		case <-time.After(leavePause):
		}
	}
}

// askToLetGo returns nil if the worker has understood.
func requestRelease(ctx context.Context, worker int, reason string) error {
	names, err := procfs.ListUnixListeners(worker)
	if err != nil {
		return err
	}
	err = diag.Errorf(diag.Internal, "pid %d listens on no socket of a worker's", worker)
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
		return errors.New("the worker refuses")
	}
	return nil
}
