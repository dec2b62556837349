//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/api"
)

// joinTimeout bounds how long a peer may take to send its request.
const joinTimeout = 5 * time.Second

// listenJoin opens the abstract unix socket on which the worker receives sessions'
// descriptors. It leaves no file behind. [AcceptJoin] refuses peers of other users.
func listenJoin() (*net.UnixListener, error) {
	return net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: joinSocketPrefix + api.NewToken()})
}

const joinSocketPrefix = "@dapbridge-"

// JoinTimeout bounds how long a session's descriptors wait for its attach request, and
// the attach request for the descriptors.
const JoinTimeout = 30 * time.Second

// The worker's answers to a request.
const (
	joinAccepted = 1 // the session has begun, or the target will be released
	joinRefused  = 2 // no session waits for these descriptors
)

// Join hands in and out to the worker that listens on socket, as the descriptors of
// the session named token, and blocks until the worker has finished with them or ctx
// ends. A worker that is exiting may have accepted the connection, so Join tries again
// until a worker has answered.
func Join(ctx context.Context, socket, token string, in, out *os.File) error {
	deadline := time.Now().Add(JoinTimeout)
	for {
		answered, err := handOver(ctx, socket, token, in, out)
		switch {
		case answered || ctx.Err() != nil:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("no worker accepts the session: %w", err)
		}
		select {
		case <-time.After(handOverPause):
		case <-ctx.Done():
		}
	}
}

const handOverPause = 20 * time.Millisecond

// handOver makes one attempt. answered reports whether that was final.
func handOver(ctx context.Context, socket, token string, in, out *os.File) (answered bool, err error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: socket})
	if err != nil {
		return true, fmt.Errorf("connect to the worker: %w", err) // the supervisor has exited
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := checkSameUser(conn); err != nil {
		return true, err
	}
	rights := unix.UnixRights(int(in.Fd()), int(out.Fd()))
	if _, _, err := conn.WriteMsgUnix([]byte(token), rights, nil); err != nil {
		return false, fmt.Errorf("hand over the session: %w", err)
	}
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil {
		return false, err
	}
	if answer[0] != joinAccepted {
		return true, errors.New("the worker expects no such session")
	}
	_, err = conn.Read(answer) // returns when the worker closes its side
	if err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil {
		return true, nil
	}
	return true, err
}

// JoinRequest is a session's pair of descriptors, sent by [Join], or, without any, a
// request to release the target, sent by [ReleaseTarget].
type JoinRequest struct {
	Token         string
	In, Out       *os.File
	ReleaseReason string // why the target is to be released; "" for a session
	conn          *net.UnixConn
}

// Accept tells the peer that the session has begun, or that the target will be
// released.
func (j JoinRequest) Accept() error { return j.answer(joinAccepted) }

// Refuse tells the peer that no session waits for the descriptors, and closes them.
func (j JoinRequest) Refuse() error { return errors.Join(j.answer(joinRefused), j.Close()) }

func (j JoinRequest) answer(b byte) error {
	_, err := j.conn.Write([]byte{b})
	return err
}

// Close closes the descriptors and the connection, which ends the peer's wait.
func (j JoinRequest) Close() error {
	if j.In == nil {
		return j.conn.Close()
	}
	return errors.Join(j.In.Close(), j.Out.Close(), j.conn.Close())
}

// AcceptJoin waits for the next request. Malformed ones, and those of other users, are
// dropped; an error means that ln is closed.
func AcceptJoin(ln *net.UnixListener) (JoinRequest, error) {
	for {
		conn, err := ln.AcceptUnix()
		if err != nil {
			return JoinRequest{}, err
		}
		if j, err := receiveJoin(conn); err == nil {
			return j, nil
		}
		conn.Close()
	}
}

func receiveJoin(conn *net.UnixConn) (JoinRequest, error) {
	if err := checkSameUser(conn); err != nil {
		return JoinRequest{}, err
	}
	conn.SetReadDeadline(time.Now().Add(joinTimeout))
	buf, oob := make([]byte, len(releasePrefix)+reasonLimit), make([]byte, unix.CmsgSpace(2*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return JoinRequest{}, err
	}
	conn.SetReadDeadline(time.Time{})
	files, err := parseFiles(oob[:oobn])
	if err != nil {
		return JoinRequest{}, err
	}
	if reason, ok := strings.CutPrefix(string(buf[:n]), releasePrefix); ok && len(files) == 0 && reason != "" {
		return JoinRequest{ReleaseReason: api.JoinLines(reason), conn: conn}, nil
	}
	if len(files) != 2 {
		for _, f := range files {
			f.Close()
		}
		return JoinRequest{}, fmt.Errorf("received %d descriptors, not 2", len(files))
	}
	return JoinRequest{Token: string(buf[:n]), In: files[0], Out: files[1], conn: conn}, nil
}

func parseFiles(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			unix.SetNonblock(fd, true) // so that Close interrupts a blocked Read or Write
			files = append(files, os.NewFile(uintptr(fd), "session"))
		}
	}
	return files, nil
}

// checkSameUser refuses a peer that runs as another user than this process.
func checkSameUser(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return err
	}
	if int(cred.Uid) != os.Getuid() {
		return fmt.Errorf("the peer runs as user %d", cred.Uid)
	}
	return nil
}
