package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/go-delve/delve/pkg/logflags"
	"github.com/go-delve/delve/service"
	"github.com/go-delve/delve/service/debugger"
	"github.com/go-delve/delve/service/rpccommon"
	"go.uber.org/goleak"
)

// delvePID has the test binary, started again, run Delve on that process.
const delvePID = "DAPBRIDGE_TEST_DELVE_PID"

func TestMain(m *testing.M) {
	if pid := os.Getenv(delvePID); pid != "" {
		runtime.LockOSThread()
		if err := serveDelve(pid); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// serveDelve prints its address, serves one client, and ends with the client or
// with standard input.
func serveDelve(pid string) error {
	number, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	if err := logflags.Setup(false, "", ""); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	disconnected, stop := make(chan struct{}), make(chan struct{})
	server := rpccommon.NewServer(&service.Config{
		Listener: l, APIVersion: 2, DisconnectChan: disconnected,
		Debugger: debugger.Config{AttachPid: number, Backend: "default"},
	})
	if err := server.Run(); err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		close(stop)
	}()
	select {
	case <-disconnected:
	case <-stop:
	}
	return server.Stop()
}

// delveBridge is plain Delve instead of a bridge.
type delveBridge struct {
	addr  string
	cmd   *exec.Cmd
	stdin io.Closer
}

func serveWithDelve(t *testing.T) ServeFunc {
	return func(_ context.Context, c ServeConfig) (Bridge, error) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", delvePID, c.PID))
		cmd.Stderr = t.Output()
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			_ = in.Close()
			return nil, fmt.Errorf("no address: %w, %w", err, cmd.Wait())
		}
		return &delveBridge{strings.TrimSpace(line), cmd, in}, nil
	}
}

func (b *delveBridge) Addr() string { return b.addr }

func (b *delveBridge) Close(ctx context.Context) error {
	_ = b.stdin.Close() // possibly a second time
	stop := context.AfterFunc(ctx, func() { _ = b.cmd.Process.Kill() })
	defer stop()
	return b.cmd.Wait()
}
