package filesync_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// watchVariable names a directory for the test binary to watch.
const watchVariable = "FILESYNC_TEST_WATCH"

func TestMain(m *testing.M) {
	if dir := os.Getenv(watchVariable); dir != "" {
		watchAndPrint(dir)
	}
	if len(os.Args) > 1 && os.Args[1] == "rsh" { // started by rsync
		if err := rsync.RunShell(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// watchAndPrint prints a line for each batch, until the process is killed.
func watchAndPrint(dir string) {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	w, err := filesync.Watch(filesync.WatchConfig{Dir: dir, Interval: 100 * time.Millisecond, Log: log})
	for err == nil {
		var b filesync.Batch
		if b, err = w.Next(context.Background()); err == nil {
			fmt.Printf("batch of %d, %q\n", len(b.Paths), b.FullScan)
		}
	}
	fmt.Println("error:", err)
	os.Exit(1)
}

// watchInProcess watches dir in another process, which runs script first. waitFor blocks
// until that process prints a line that contains text, and returns the line.
func watchInProcess(t *testing.T, dir string, attr *syscall.SysProcAttr, script string) (p *os.Process, waitFor func(text string) string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-ec", script+"\nexec "+self)
	cmd.Env = append(os.Environ(), watchVariable+"="+dir)
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		testenv.Skipf(t, "cannot start the watching process: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	lines := bufio.NewScanner(out)
	return cmd.Process, func(text string) string {
		t.Helper()
		var printed []string
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return lines.Text()
			}
			printed = append(printed, lines.Text())
		}
		t.Fatalf("no line contains %q: %q", text, printed)
		return ""
	}
}

// TestWatchOverflow stops a watcher's process until the kernel's queue is full. All
// directories are watched afterwards, whatever events were lost.
func TestWatchOverflow(t *testing.T) {
	dir := t.TempDir()
	p, waitFor := watchInProcess(t, dir, &syscall.SysProcAttr{}, "")
	waitFor("watching has started")
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	// Each file causes at least two events.
	shell(t, dir, "mkdir d && seq 1 "+strings.TrimSpace(string(limit))+" | xargs touch && echo x >d/x")
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor("overflow")
	// Some of the saves are covered by full scans that are still due.
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if err := os.WriteFile(filepath.Join(dir, "d", fmt.Sprint(i)), nil, 0o644); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	waitFor(`batch of 1, ""`)
}

// TestTooManyDirectoriesToWatch exhausts a user's watches: the log says how to allow
// more, and full scans run at intervals.
func TestTooManyDirectoriesToWatch(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		testenv.WriteFile(t, filepath.Join(dir, fmt.Sprint("d", i), "f"), "x")
	}
	_, waitFor := watchInProcess(t, dir, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}, "echo 10 >/proc/sys/user/max_inotify_watches")
	if warning := waitFor("not all directories can be watched"); !strings.Contains(warning, "fs.inotify.max_user_watches") {
		t.Errorf("no remedy in %s", warning)
	}
	waitFor("watching has started")
	for range 3 {
		waitFor("not all directories can be watched")
	}
}
