package rsync

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"sync"
)

// shellFD is the descriptor of the socket that [RunShell] inherits: the first one
// that is not standard (os/exec, Cmd.ExtraFiles).
const shellFD = 3

// RunShell is rsync's remote shell: argv is what rsync wants to be run, in and out are
// what it says and hears. It ends when either side does.
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
	go func() { // it ends with the process at the latest: a read of rsync's pipe can't be given up
		_, _ = io.Copy(conn, in)
		closeWrite(conn)
	}()
	_, err = io.Copy(out, conn)
	return err
}

// closeWrite tells the other end that no more comes.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// relay connects a socket with a command's streams until the command has said all,
// and returns how many bytes passed.
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
