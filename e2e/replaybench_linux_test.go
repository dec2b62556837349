package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	replaySize   = 20 << 20 // bytes of a response
	replays      = 10       // responses of a round
	replayOnNode = "/usr/local/bin/replay"
	replayPort   = 40078
)

// BenchmarkReplay measures the throughput of a response of 20 MB through the bridge and
// SSH, with one path every 2 KB, without paths, and consisting of paths only, against
// the same bytes through ssh -L, and the peak memory of the bridge's process. A server
// that replays the response stands in for Delve.
func BenchmarkReplay(b *testing.B) {
	for _, paths := range []string{"paths", "none", "console"} {
		b.Run(paths, func(b *testing.B) { benchReplay(b, paths) })
	}
}

func benchReplay(b *testing.B, paths string) {
	f := setup(b)
	bin := f.buildReplay(b)
	ours, bridge := f.replayBridge(b, bin, paths)
	theirs := f.replayTunnel(b, paths)
	var our, their []time.Duration
	for b.Loop() {
		for range rounds {
			our = append(our, replay(b, ours, true)...)
			their = append(their, replay(b, theirs, false)...)
		}
	}
	o, t := quantile(our, 0.5), quantile(their, 0.5)
	peak := peakMemory(b, bridge)
	b.Logf("%s: dapbridge %.0f MB/s, ssh -L %.0f MB/s, the bridge's memory at most %d MB", paths, megabytesPer(o), megabytesPer(t), peak>>20)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(t)/float64(o), "throughput-ratio")
	b.ReportMetric(float64(peak)/1e6, "peak-MB")
}

func megabytesPer(d time.Duration) float64 { return replaySize / 1e6 / d.Seconds() }

// buildReplay builds the program and installs it on the node.
func (f *fixture) buildReplay(b *testing.B) string {
	b.Helper()
	bin := filepath.Join(f.dir, "replay")
	build := exec.Command("go", "build", "-o", bin, "./internal/replay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		b.Fatal(err)
	}
	os.Remove(filepath.Join(f.node.RootFS(), replayOnNode)) // it may run
	if err := os.WriteFile(filepath.Join(f.node.RootFS(), replayOnNode), data, 0o755); err != nil {
		b.Fatal(err)
	}
	return bin
}

// replayBridge starts a bridge to the node and returns its address and pid.
func (f *fixture) replayBridge(b *testing.B, bin, paths string) (addr string, pid int) {
	b.Helper()
	cmd := exec.Command(bin, "bridge", "ssh://"+f.node.User()+"@"+f.node.SSHAddr(), f.node.KeyFile(), f.node.KnownHostsFile(),
		replayOnNode, strconv.Itoa(replaySize), paths)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line), cmd.Process.Pid
}

// replayTunnel starts the server on the node and a tunnel to it.
func (f *fixture) replayTunnel(b *testing.B, paths string) (addr string) {
	b.Helper()
	addr = freePort(b)
	argv := f.node.SSHCommand()
	serve := replayOnNode + " serve " + strconv.Itoa(replaySize) + " " + paths + " 127.0.0.1:" + strconv.Itoa(replayPort)
	argv = append(argv[:len(argv)-1:len(argv)-1], "-tt", "-L", addr+":127.0.0.1:"+strconv.Itoa(replayPort), argv[len(argv)-1], serve)
	tunnel := exec.Command(argv[0], argv[1:]...) // with a terminal, whose end ends the server
	if err := tunnel.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tunnel.Process.Kill(); tunnel.Wait() })
	return addr
}

// replay repeats the request and returns how long each response took.
func replay(b *testing.B, addr string, session bool) []time.Duration {
	b.Helper()
	var conn net.Conn
	var in *bufio.Reader
	ask := func(seq int, command string) (int64, error) {
		req := fmt.Sprintf(`{"seq":%d,"type":"request","command":%q,"arguments":{}}`, seq, command)
		if _, err := fmt.Fprintf(conn, "Content-Length: %d\r\n\r\n%s", len(req), req); err != nil {
			return 0, err
		}
		return skipMessage(in)
	}
	eventually(b, 20*time.Second, func() string { // the server may not listen yet
		var err error
		if conn, err = net.Dial("tcp", addr); err != nil {
			return err.Error()
		}
		in = bufio.NewReaderSize(conn, 64<<10)
		if _, err = ask(1, "initialize"); err != nil {
			conn.Close()
			return err.Error()
		}
		return ""
	})
	defer conn.Close()
	if session {
		if _, err := ask(2, "attach"); err != nil {
			b.Fatal(err)
		}
	}
	times := make([]time.Duration, replays)
	for i := range replays {
		start := time.Now()
		if n, err := ask(i+3, "stackTrace"); err != nil || n < replaySize {
			b.Fatalf("%d bytes, %v", n, err)
		}
		times[i] = time.Since(start)
	}
	return times
}

// skipMessage reads one message and returns its length.
func skipMessage(in *bufio.Reader) (n int64, err error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if length, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if n, err = strconv.ParseInt(strings.TrimSpace(length), 10, 64); err != nil {
				return 0, err
			}
		}
		if strings.TrimSpace(line) == "" {
			return io.CopyN(io.Discard, in, n)
		}
	}
}

// peakMemory returns the peak resident memory of a process in bytes.
func peakMemory(b *testing.B, pid int) int64 {
	b.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Fatal("no VmHWM")
	return 0
}
