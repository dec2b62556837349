package deploy

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// lostProcess is a command whose connection was lost.
type lostProcess struct{ remote.Process }

func (lostProcess) Cause(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	return diag.Errorf(diag.LinkLost, "the connection was lost: %w", err)
}

// TestSendBuildOverLostConnection has the write of the build fail before a read shows
// that the connection was lost: the node is to blame, not this machine.
func TestSendBuildOverLostConnection(t *testing.T) {
	disk := errors.New("read the build: input/output error")
	reset := &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET}
	for _, tt := range []struct {
		name string
		err  error
		want diag.Code
	}{
		{"connection reset", reset, diag.LinkLost},
		{"local file", disk, diag.CodeOf(disk)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &swapRun{cmd: &link.Command{Cmd: &remote.Cmd{Process: lostProcess{}}}, sendErr: make(chan error, 1)}
			r.sendBuild(func(io.Writer, string) error { return tt.err }, "")
			if err := <-r.sendErr; diag.CodeOf(err) != tt.want {
				t.Errorf("got %v (%s), want code %s", err, diag.CodeOf(err), tt.want)
			}
		})
	}
}
