package rsync

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"sync"
)

// shellFD is the descriptor of the socket that [RunShell] inherits: the first one after
// the standard streams (os/exec, Cmd.ExtraFiles).
const shellFD = 3

// RunShell is rsync's remote shell: argv is the command that rsync asks for, in and out
// are rsync's pipes. It returns when either side ends.
func RunShell(ctx context.Context, argv []string, in io.Reader, out io.Writer) error {
	f := os.NewFile(shellFD, "socket")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(argv); err != nil {
		return err
	}
	go func() { // ends with the process: a read from rsync's pipe cannot be interrupted
		_, _ = io.Copy(conn, in)
		closeWrite(conn)
	}()
	_, err = io.Copy(out, conn)
	return err
}

// closeWrite signals the end of the data to the other end.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// relay connects a socket to a command's streams until the command's output ends, and
// returns how many bytes it relayed, both ways.
func relay(conn net.Conn, from io.Reader, stdin io.WriteCloser, stdout io.Reader) (int64, error) {
	var wg sync.WaitGroup
	var sent int64
	wg.Go(func() {
		sent, _ = io.Copy(stdin, from)
		_ = stdin.Close()
	})
	received, err := io.Copy(conn, stdout)
	conn.Close()
	wg.Wait()
	return sent + received, err
}
