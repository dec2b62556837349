package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// The benchmarks compare dapbridge with a manual setup: dlv on the node and `ssh -L` to
// it. Both are measured alternately in the same run on the same node, and only the
// ratio counts: the figures do not apply to another machine.

const (
	rounds    = 5    // in turn
	perRound  = 2000 // requests of a round
	delveTool = "github.com/go-delve/delve/cmd/dlv@v1.27.2"
)

// BenchmarkThreads measures the round trip of a request that Delve answers immediately:
// threads while the target runs.
func BenchmarkThreads(b *testing.B) {
	compare(b, true, "threads", nil)
}

// BenchmarkStackTrace measures the round trip of stackTrace while the target is halted
// in CreateContainer.
func BenchmarkStackTrace(b *testing.B) {
	compare(b, false, "stackTrace", map[string]any{"threadId": 0, "startFrame": 0, "levels": 20})
}

// compare measures one request through the bridge and through ssh -L.
func compare(b *testing.B, running bool, command string, args map[string]any) {
	f := setup(b)
	s := f.serve(b, "--log-level", "error")
	alt := f.alternative(b)
	var ours, theirs []time.Duration
	for b.Loop() {
		for range rounds {
			ours = append(ours, f.round(b, s.addr, nil, running, command, args)...)
			dlv := alt.attach(b)
			theirs = append(theirs, f.round(b, alt.addr, f.directArgs(), running, command, args)...)
			dlv.stop(b)
		}
	}
	report(b, command, ours, theirs)
}

// directArgs are the attach arguments that a user must write by hand without dapbridge.
func (f *fixture) directArgs() map[string]any {
	root := f.node.BuildRoot(f.node.Containerd())
	return map[string]any{"substitutePath": []map[string]string{{"from": f.source, "to": root}}}
}

// round attaches, brings the target into the state to be measured, sends perRound
// requests, and disconnects.
func (f *fixture) round(b *testing.B, addr string, attach map[string]any, running bool, command string, args map[string]any) []time.Duration {
	b.Helper()
	conn, err := dialAs(userUID, addr)
	if err != nil {
		b.Fatal(err)
	}
	c := dapclient.New(conn, dapclient.Unordered())
	defer c.Close()
	o := dapclient.AttachOptions{Args: attach}
	if !running {
		o.Breakpoints = map[string][]int{f.file(createContainerFile): {f.lineOf(b, createContainerFile, createContainerCode)}}
	}
	if _, err := c.Attach(short(b), o); err != nil {
		b.Fatal(err)
	}
	if !running {
		go f.node.Exec(context.Background(), "criload", "-timeout=60s", "create", podName())
		stop, err := c.WaitStopped(short(b))
		if err != nil {
			b.Fatal(err)
		}
		args["threadId"] = stop.ThreadId
	}
	times := ask(b, c, command, args)
	if err := c.Disconnect(short(b), false); err != nil {
		b.Fatal(err)
	}
	return times
}

// ask measures perRound requests, one after the other.
func ask(b *testing.B, c *dapclient.Client, command string, args any) []time.Duration {
	b.Helper()
	ctx := short(b)
	for range 100 { // warm up
		if _, err := c.Request(ctx, command, args); err != nil {
			b.Fatal(err)
		}
	}
	times := make([]time.Duration, perRound)
	for i := range times {
		start := time.Now()
		if _, err := c.Request(ctx, command, args); err != nil {
			b.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	return times
}

// report prints medians and tails of both, and their ratios.
func report(b *testing.B, what string, ours, theirs []time.Duration) {
	om, op, tm, tp := quantile(ours, 0.5), quantile(ours, 0.99), quantile(theirs, 0.5), quantile(theirs, 0.99)
	b.Logf("%s: dapbridge median %s, p99 %s; alternative median %s, p99 %s (n=%d each)", what, om, op, tm, tp, len(ours))
	b.ReportMetric(0, "ns/op") // the whole run's time means nothing
	b.ReportMetric(float64(om)/float64(tm), "median-ratio")
	b.ReportMetric(float64(op)/float64(tp), "p99-ratio")
	b.ReportMetric(float64(om.Microseconds()), "median-us")
}

func quantile(d []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// alternative is dlv on the node and a tunnel to it.
type alternative struct {
	f    *fixture
	addr string // this end of the tunnel
}

const dlvPort = 40077

// delveOnNode is the path of a plain dlv, after installDelve.
const delveOnNode = "/usr/local/bin/dlv"

func (f *fixture) installDelve(b testing.TB) {
	b.Helper()
	data, err := os.ReadFile(f.dlv(b))
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.node.RootFS(), delveOnNode), data, 0o755); err != nil {
		b.Fatal(err)
	}
}

// alternative installs dlv on the node and opens the tunnel.
func (f *fixture) alternative(b testing.TB) *alternative {
	b.Helper()
	f.installDelve(b)
	a := &alternative{f: f, addr: freePort(b)}
	argv := f.node.SSHCommand()
	argv = append(argv[:len(argv)-1:len(argv)-1], "-N", "-L", a.addr+":127.0.0.1:"+strconv.Itoa(dlvPort), argv[len(argv)-1])
	tunnel := exec.Command(argv[0], argv[1:]...)
	if err := tunnel.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tunnel.Process.Kill(); tunnel.Wait() })
	waitPort(b, a.addr)
	return a
}

// dlv returns the path of a dlv, which it builds once.
func (f *fixture) dlv(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(f.dir, "dlv")
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	cmd := exec.Command("go", "install", delveTool)
	cmd.Env = append(os.Environ(), "GOBIN="+f.dir, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// dlv is a headless dlv that runs on the node.
type dlv struct {
	cmd *exec.Cmd
	f   *fixture
	pid int // containerd's
}

// attach starts dlv on the node and returns when it listens, with the target running.
func (a *alternative) attach(b testing.TB) *dlv { return a.start(b, "--continue") }

func (a *alternative) start(b testing.TB, flags ...string) *dlv {
	b.Helper()
	pid := a.f.containerd(b)
	argv := append(a.f.node.SSHCommand(), "sudo", "-n", delveOnNode, "attach", strconv.Itoa(pid), "--headless",
		"--accept-multiclient", "--only-same-user=false", "--api-version=2", "--listen=127.0.0.1:"+strconv.Itoa(dlvPort))
	argv = append(argv, flags...)
	d := &dlv{cmd: exec.Command(argv[0], argv[1:]...), f: a.f, pid: pid}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "listening at") {
		b.Fatalf("dlv says %q (%v)", line, err)
	}
	go io.Copy(io.Discard, out)
	return d
}

// stop ends dlv and checks that containerd survives.
func (d *dlv) stop(b testing.TB) {
	b.Helper()
	d.f.node.Exec(b.Context(), "pkill", "-TERM", "-x", "dlv")
	d.cmd.Wait()
	d.f.waitFree(b, d.pid, 10*time.Second)
}

func freePort(b testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func waitPort(b testing.TB, addr string) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

// BenchmarkAttach measures the start of a session to verified breakpoints: from the
// attach request with dapbridge, from the start of dlv on the node without.
func BenchmarkAttach(b *testing.B) {
	f := setup(b)
	s := f.serve(b, "--log-level", "error")
	alt := f.alternative(b)
	line := f.lineOf(b, createContainerFile, createContainerCode)
	var ours, theirs []time.Duration
	for b.Loop() {
		for range rounds {
			ours = append(ours, f.attachTime(b, s.addr, line, nil, nil))
			theirs = append(theirs, f.attachTime(b, alt.addr, line, f.directArgs(), alt))
		}
	}
	report(b, "attach", ours, theirs)
}

// attachTime returns how long one session takes to verified breakpoints. For the
// alternative, that includes the start and attach of dlv.
func (f *fixture) attachTime(b *testing.B, addr string, line int, args map[string]any, alt *alternative) time.Duration {
	b.Helper()
	start := time.Now()
	if alt != nil {
		defer alt.attach(b).stop(b)
	}
	conn, err := dialAs(userUID, addr)
	if err != nil {
		b.Fatal(err)
	}
	c := dapclient.New(conn, dapclient.Unordered())
	defer c.Close()
	file := f.file(createContainerFile)
	bps, err := c.Attach(short(b), dapclient.AttachOptions{Args: args, Breakpoints: map[string][]int{file: {line}}})
	took := time.Since(start)
	if err != nil || len(bps[file]) != 1 || !bps[file][0].Verified {
		b.Fatalf("attach: %v, %v", bps, err)
	}
	if err := c.Disconnect(short(b), false); err != nil {
		b.Fatal(err)
	}
	return took
}

// BenchmarkStripped compares the start of a session with a stripped containerd, whose
// symbols have been built and used once, and with a containerd that has its own. The
// times to build and upload them are logged.
func BenchmarkStripped(b *testing.B) {
	f := setup(b)
	f.use(b, testbed.Stripped)
	s := f.symbols(b, f.source)
	b.Logf("symbols: source %v, build %v, proof %v; sent %d bytes in %v", s.Kept.Times.Sources, s.Kept.Times.Build, s.Kept.Times.Proof, s.Kept.Size, s.Send)
	line := f.lineOf(b, createContainerFile, createContainerCode)
	times := map[string][]time.Duration{}
	for b.Loop() {
		for range rounds {
			for _, flavour := range []string{testbed.Stripped, testbed.Make} {
				f.use(b, flavour)
				s := f.serve(b, "--log-level", "error")
				first := f.attachTime(b, s.addr, line, nil, nil)
				times[flavour+" first"] = append(times[flavour+" first"], first)
				for range rounds {
					times[flavour] = append(times[flavour], f.attachTime(b, s.addr, line, nil, nil))
				}
				s.stop(b)
			}
		}
	}
	report(b, "the first attach, stripped against not", times[testbed.Stripped+" first"], times[testbed.Make+" first"])
	report(b, "the second attach, stripped against not", times[testbed.Stripped], times[testbed.Make])
}

// BenchmarkStart measures `dapbridge serve` from its start until it listens, with the
// agent on the node already, against `ssh NODE true`.
func BenchmarkStart(b *testing.B) {
	f := setup(b)
	f.serve(b, "--log-level", "error").stop(b) // puts the agent there
	var ours, theirs []time.Duration
	for b.Loop() {
		for range 2 * rounds {
			start := time.Now()
			s := f.serve(b, "--log-level", "error")
			ours = append(ours, time.Since(start))
			s.stop(b)
			argv := append(f.node.SSHCommand(), "true")
			start = time.Now()
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			theirs = append(theirs, time.Since(start))
		}
	}
	report(b, "start", ours, theirs)
}

// BenchmarkMemory measures the resident memory of the daemon while it waits for an IDE,
// and the peak during a session.
func BenchmarkMemory(b *testing.B) {
	f := setup(b)
	for b.Loop() {
		s := f.serve(b, "--log-level", "error")
		time.Sleep(2 * time.Second) // past what the start left behind
		idle := memory(b, s.cmd.Process.Pid, "VmRSS:")
		f.round(b, s.addr, nil, true, "threads", nil)
		peak := memory(b, s.cmd.Process.Pid, "VmHWM:")
		b.Logf("memory: idle %.1f MB, peak of a session %.1f MB", idle, peak)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(idle, "idle-MB")
		b.ReportMetric(peak, "peak-MB")
		s.stop(b)
	}
}

// memory reads a field of /proc/PID/status, in MB.
func memory(b testing.TB, pid int, field string) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), field)
	if !ok {
		b.Fatalf("no %s", field)
	}
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb) / 1000
}
