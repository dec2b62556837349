package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// copyTool is a tool that copies each change of a tree to the node.
type copyTool struct {
	name    string
	dir, to string
	took    []time.Duration // from a save to where it is seen on the node
}

// BenchmarkSync measures how long it takes until a saved file is visible on the node,
// for dapbridge and the usual alternatives, each with its own tree: one save of each in
// turn.
func BenchmarkSync(b *testing.B) {
	f := setup(b)
	for _, program := range []string{"inotifywait", "lsyncd"} {
		testenv.NeedsTool(b, program) // Debian's packages inotify-tools and lsyncd
	}
	shell := f.controlMaster(b)
	tools := []*copyTool{{name: "dapbridge"}, {name: "inotifywait and rsync"}, {name: "lsyncd"}}
	for i, tool := range tools {
		tool.dir, tool.to = f.tree(b, fmt.Sprint("saves", i))
		for k := range 1500 {
			writeAsUser(b, filepath.Join(tool.dir, nested(k)), saved(-k))
		}
	}
	f.watch(b, tools[0].dir, tools[0].to)
	f.inotifywait(b, shell, tools[1])
	f.lsyncd(b, shell, tools[2])
	for _, tool := range tools {
		f.waitEqual(b, tool.dir, tool.to, "the start")
		f.save(b, tool, 0) // which fills caches
		tool.took = nil
	}
	const saves = 50
	for b.Loop() {
		for i := range saves {
			for k := range tools { // none is always the first after a pause
				f.save(b, tools[(i+k)%len(tools)], i)
			}
		}
	}
	theirs := tools[1].took
	for _, tool := range tools {
		b.Logf("%s: median %s, p95 %s (n=%d)", tool.name, quantile(tool.took, 0.5), quantile(tool.took, 0.95), len(tool.took))
	}
	if quantile(tools[2].took, 0.5) < quantile(theirs, 0.5) {
		theirs = tools[2].took
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(quantile(tools[0].took, 0.5).Microseconds()), "median-us")
	b.ReportMetric(float64(quantile(tools[0].took, 0.5))/float64(quantile(theirs, 0.5)), "median-ratio")
	b.ReportMetric(float64(quantile(tools[0].took, 0.95))/float64(quantile(theirs, 0.95)), "p95-ratio")
}

// nested returns the name of the k-th file.
func nested(k int) string { return fmt.Sprintf("pkg/%d/internal/%d/file%d.go", k%10, k%50, k) }

// saved returns the content of the k-th save, about as long as a source file.
func saved(k int) string {
	return strings.Repeat(fmt.Sprintf("// %d\n", k), 800)
}

// save writes a file, alternately in place and by renaming another file onto it, and
// waits until it is on the node.
func (f *fixture) save(b *testing.B, tool *copyTool, k int) {
	b.Helper()
	name := nested(k * 7)
	path, there, text := filepath.Join(tool.dir, name), f.onNode(filepath.Join(tool.to, name)), []byte(saved(k+1000*len(tool.took)))
	write := path
	if k%2 == 1 {
		write = tool.dir + ".saving"
	}
	began := time.Now()
	err := os.WriteFile(write, text, 0o644)
	if err == nil && write != path {
		err = errors.Join(os.Chown(write, userUID, userUID), os.Rename(write, path))
	}
	if err != nil {
		b.Fatal(err)
	}
	for {
		if seen, err := os.ReadFile(there); err == nil && bytes.Equal(seen, text) {
			break
		}
		if time.Since(began) > 20*time.Second {
			b.Fatalf("%s: save %d is not seen", tool.name, k)
		}
		time.Sleep(100 * time.Microsecond)
	}
	tool.took = append(tool.took, time.Since(began))
	time.Sleep(20 * time.Millisecond) // people don't save while the tools are at work
}

// controlMaster connects to the node, and returns the ssh command line that uses that
// connection, without the host, and the host.
func (f *fixture) controlMaster(b *testing.B) (shell []string) {
	b.Helper()
	argv := f.node.SSHCommand()
	shell = append(append(shell, argv[:len(argv)-1]...), "-S", filepath.Join(f.home, "master"))
	host := argv[len(argv)-1]
	if out, err := f.asUser(b, append(shell, "-M", "-N", "-f", "-n", host)...).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	b.Cleanup(func() { f.asUser(b, append(shell, "-O", "exit", host)...).Run() })
	return append(shell, host)
}

// asUser prepares a program to run as the user.
func (f *fixture) asUser(b *testing.B, argv ...string) *exec.Cmd {
	b.Helper()
	cmd := f.command(context.Background(), userUID)
	path, err := exec.LookPath(argv[0])
	if err != nil {
		b.Fatal(err)
	}
	cmd.Path, cmd.Args, cmd.Dir = path, argv, "/"
	return cmd
}

// background runs a program and its children until the benchmark ends.
func (f *fixture) background(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	cmd.SysProcAttr.Setpgid = true
	said := &testenv.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if b.Failed() {
			b.Logf("%q said:\n%s", cmd.Args, said)
		}
	})
}

// inotifywait copies changes by a shell loop.
func (f *fixture) inotifywait(b *testing.B, ssh []string, tool *copyTool) {
	host, shell := ssh[len(ssh)-1], strings.Join(ssh[:len(ssh)-1], " ")
	const loop = `rsync -a -e "$SHELL_TO" "$DIR/" "$TO/"
inotifywait -q -m -r -e close_write,moved_to,create,delete --format %w%f "$DIR" | while read -r path; do
	printf '%s\n' "${path#"$DIR"/}" | rsync -a --files-from=- -e "$SHELL_TO" "$DIR/" "$TO/"
done`
	cmd := f.asUser(b, "sh", "-c", loop)
	cmd.Env = append(cmd.Env, "DIR="+tool.dir, "TO="+host+":"+tool.to, "SHELL_TO="+shell)
	f.background(b, cmd)
}

// lsyncd copies changes by lsyncd without its delay.
func (f *fixture) lsyncd(b *testing.B, ssh []string, tool *copyTool) {
	host, shell := ssh[len(ssh)-1], strings.Join(ssh[1:len(ssh)-1], " ")
	conf := filepath.Join(f.home, "lsyncd.conf")
	text := fmt.Sprintf(`settings { nodaemon = true }
sync { default.rsync, source = %q, target = %q, delay = 0,
  rsync = { archive = true, rsh = %q } }
`, tool.dir, host+":"+tool.to, "/usr/bin/ssh "+shell)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	f.background(b, f.asUser(b, "lsyncd", conf))
}

// BenchmarkSyncIdle measures the cost of `dapbridge sync --watch` while nothing changes:
// processor time, and memory with many directories.
func BenchmarkSyncIdle(b *testing.B) {
	f := setup(b)
	dir, to := f.tree(b, "idle")
	const dirs, idle = 10_000, 30 * time.Second
	for k := range dirs {
		name := filepath.Join(dir, fmt.Sprintf("%d/%d", k%100, k))
		if err := os.MkdirAll(name, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", strconv.Itoa(userUID), dir).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	w := f.watch(b, dir, to)
	time.Sleep(2 * time.Second)
	for b.Loop() {
		before := ticks(b, w.cmd.Process.Pid)
		time.Sleep(idle)
		b.ReportMetric(float64(ticks(b, w.cmd.Process.Pid)-before), "ticks/30s")
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(memory(b, w.cmd.Process.Pid, "VmRSS:"), "MB")
	b.ReportMetric(memory(b, w.cmd.Process.Pid, "VmHWM:"), "peak-MB")
	w.end(b)
}

// ticks returns the processor time of a process in clock ticks (proc_pid_stat(5)).
func ticks(b *testing.B, pid int) int {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		b.Fatal(err)
	}
	return user + system
}
