package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

// BenchmarkSyncInitial compares a first copy of containerd's source, with and without
// vendor, with `rsync -a` over ssh: both from the start of the program, including the
// connection, to its end.
func BenchmarkSyncInitial(b *testing.B) {
	f := setup(b)
	bare := filepath.Join(f.dir, "src", "bare")
	f.copySource(b, bare, "--exclude=/vendor", "--exclude=.git")
	vendored := filepath.Join(f.dir, "src", "vendored")
	f.copySource(b, vendored, "--exclude=.git")
	for name, dir := range map[string]string{"without vendor": bare, "with vendor": vendored} {
		b.Run(name, func(b *testing.B) {
			f.initial(b, dir, f.nodeArgs()...) // puts the agent there, and the files into memory
			var ours, theirs []time.Duration
			for b.Loop() {
				for range rounds {
					theirs = append(theirs, f.bareRsync(b, "-a", dir, f.node.SSHCommand()))
					ours = append(ours, f.initial(b, dir, f.nodeArgs()...))
				}
			}
			report(b, "initial sync, "+name, ours, theirs)
		})
	}
}

// copySource copies containerd's source for the user, except what rsync's options
// exclude.
func (f *fixture) copySource(b testing.TB, dir string, options ...string) {
	b.Helper()
	args := append(options, "-a", f.source+"/", dir)
	if out, err := exec.Command("rsync", args...).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
}

// newCopy returns the name of a new directory on the node. It is removed at the end:
// after a large removal, the node's file system is slow to create files.
func (f *fixture) newCopy(b testing.TB) string {
	dir := fmt.Sprintf("/home/docker/copied-%d", time.Now().UnixNano())
	b.Cleanup(func() { os.RemoveAll(f.onNode(dir)) })
	return dir
}

// initial returns how long `dapbridge sync` takes to copy dir to a new directory.
func (f *fixture) initial(b testing.TB, dir string, node ...string) time.Duration {
	b.Helper()
	cmd := f.command(b.Context(), userUID, slices.Concat([]string{"sync", dir, "--to", f.newCopy(b)}, node)...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return took
}

// bareRsync is how long rsync over ssh takes for the same. ssh ends with the host.
func (f *fixture) bareRsync(b testing.TB, options, dir string, ssh []string) time.Duration {
	b.Helper()
	shell, host := strings.Join(ssh[:len(ssh)-1], " "), ssh[len(ssh)-1]
	cmd := exec.Command("rsync", options, "-e", shell, dir+"/", host+":"+f.newCopy(b))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userUID, Gid: userUID}}
	cmd.Env = []string{"HOME=" + f.home, "PATH=" + os.Getenv("PATH")}
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return took
}

// BenchmarkSyncSlow compares a copy of containerd's source without vendor at 2 MB/s with
// `rsync -az` over ssh.
func BenchmarkSyncSlow(b *testing.B) {
	f := setup(b)
	dir := filepath.Join(f.dir, "src", "slow")
	f.copySource(b, dir, "--exclude=/vendor", "--exclude=.git")
	f.initial(b, dir, f.nodeArgs()...)
	proxy, node := f.proxy(b)
	proxy.Rate(2 << 20)
	_, port, err := net.SplitHostPort(proxy.Addr())
	if err != nil {
		b.Fatal(err)
	}
	ssh := f.node.SSHCommand()
	user, host, _ := strings.Cut(ssh[len(ssh)-1], "@")
	ssh = append(ssh[:len(ssh)-1:len(ssh)-1], "-p", port, "-o", "HostKeyAlias="+host, user+"@127.0.0.1")
	var ours, theirs []time.Duration
	for b.Loop() {
		for range rounds {
			theirs = append(theirs, f.bareRsync(b, "-az", dir, ssh))
			ours = append(ours, f.initial(b, dir, node...))
		}
	}
	report(b, "initial sync over a slow line", ours, theirs)
}

// BenchmarkSyncEdit sends a one-line edit in a file of 50 MB: by rsync, and as a whole,
// as to a node without rsync.
func BenchmarkSyncEdit(b *testing.B) {
	f := setup(b)
	f.use(b, testbed.Make)
	dir := filepath.Join(f.dir, "src", "edit")
	text, copied := noise(50<<20), f.newCopy(b)
	b.Cleanup(func() { os.RemoveAll(dir) })
	took := map[bool][]time.Duration{}
	var wire []int64
	edit := func(deltas bool) {
		text = text[:25<<20] + fmt.Sprintf("edit %d\n", len(text)) + text[25<<20:]
		theirsFile(b, filepath.Join(dir, "large"), text)
		programs := ""
		if !deltas {
			programs = filepath.Join(f.dir, "programs")
			theirsFile(b, filepath.Join(programs, "rsync"), "#!/bin/sh\nexit 1\n")
			os.Chmod(filepath.Join(programs, "rsync"), 0o755)
		}
		start := time.Now()
		r := f.byRsync(b, 0, programs, dir, "--to", copied)
		took[deltas] = append(took[deltas], time.Since(start))
		if deltas != (r.Deltas == 1) {
			b.Fatalf("%+v", r)
		}
		if deltas {
			wire = append(wire, r.Bytes-r.Saved)
		}
	}
	theirsFile(b, filepath.Join(dir, "large"), text)
	f.byRsync(b, 0, "", dir, "--to", copied)
	for b.Loop() {
		for range rounds {
			edit(true)
			edit(false)
		}
	}
	report(b, "an edit in 50 MB, by difference against as a whole", took[true], took[false])
	b.Logf("bytes on the line: %d", wire)
	b.ReportMetric(float64(wire[0]), "wire-bytes")
}

// theirsFile writes a file of the user's.
func theirsFile(b testing.TB, name, text string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, at := range []string{name, filepath.Dir(name)} {
		if err := os.Lchown(at, userUID, userUID); err != nil {
			b.Fatal(err)
		}
	}
}
