package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// letGo begins what is sent to a worker that is to let its target go; the reason
// follows. No token begins so ([NewToken]).
const letGo = "let go: "

// reasonLimit bounds the reason, in bytes.
const reasonLimit = 512

// letGoTimeout bounds how long a worker may take to let its target go.
const letGoTimeout = time.Minute

// Session says who debugs a process by a dapbridge, "" if nobody traces it. Any
// other tracer is an error, with the code diag.TargetTraced.
func Session(pid int) (by string, err error) {
	tracer, comm, err := target.Tracer(pid)
	switch {
	case err != nil || tracer == 0:
		return "", nil // of a process that has ended too
	case comm != workerCommand:
		return "", TracedBy(pid, tracer, comm)
	}
	if by = daemonOf(tracer); by == "" {
		by = fmt.Sprintf("pid %d on the node", tracer)
	}
	return by, nil
}

// LetGo returns when nobody traces a process any more. If a dapbridge's worker
// does, that is asked to end its session in its own order, and the session's user
// is told the reason. Another tracer is an error, as for [Session]; a worker that
// does not let go in time is one with the code diag.TargetBusy.
func LetGo(ctx context.Context, pid int, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, letGoTimeout)
	defer cancel()
	for asked := 0; ; {
		tracer, comm, err := target.Tracer(pid)
		if err != nil || tracer == 0 {
			return nil
		}
		if comm != workerCommand {
			return TracedBy(pid, tracer, comm)
		}
		// One that leaves may not answer, and another may have come.
		if tracer != asked && askToLetGo(ctx, tracer, reason) == nil {
			asked = tracer
		}
		select {
		case <-ctx.Done():
			return TracedBy(pid, tracer, comm)
		case <-time.After(leavePause):
		}
	}
}

// askToLetGo returns nil if the worker has understood.
func askToLetGo(ctx context.Context, worker int, reason string) error {
	socket, err := joinSocket(worker)
	if err != nil {
		return err
	}
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
	if _, err := conn.Write([]byte(letGo + reason)); err != nil {
		return err
	}
	conn.SetReadDeadline(time.Now().Add(joinTimeout))
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil {
		return err
	}
	if answer[0] != joinTaken {
		return errors.New("the worker refuses")
	}
	return nil
}

// joinSocket returns the name of the abstract socket that a worker listens on,
// which is the descriptor WorkerJoins of its process. The columns of
// /proc/net/unix are Num, RefCount, Protocol, Flags, Type, St, Inode and Path
// (Linux's net/unix/af_unix.c, unix_seq_show).
func joinSocket(worker int) (string, error) {
	proc := "/proc/" + strconv.Itoa(worker)
	link, err := os.Readlink(proc + "/fd/" + strconv.Itoa(WorkerJoins))
	if err != nil {
		return "", err
	}
	table, err := os.ReadFile(proc + "/net/unix")
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line)
		if len(f) == 8 && "socket:["+string(f[6])+"]" == link && bytes.HasPrefix(f[7], []byte("@")) {
			return string(f[7]), nil
		}
	}
	return "", diag.Errorf(diag.Internal, "pid %d listens on no socket of a worker's", worker)
}
