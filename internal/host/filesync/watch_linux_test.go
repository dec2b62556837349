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
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// watchVariable makes the test binary watch the directory that it names.
const watchVariable = "FILESYNC_TEST_WATCH"

func TestMain(m *testing.M) {
	if dir := os.Getenv(watchVariable); dir != "" {
		watchAndTell(dir)
	}
	if len(os.Args) > 1 && os.Args[1] == "rsh" { // rsync has started it
		if err := rsync.RunShell(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// watchAndTell writes a line for each batch, until it is killed.
func watchAndTell(dir string) {
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

// watchElsewhere watches dir in another process. The function that it returns
// waits for a line that holds a text, and returns it.
func watchElsewhere(t *testing.T, dir string, attr *syscall.SysProcAttr, script string) (*os.Process, func(text string) string) {
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
		testenv.Skipf(t, "can't start a process of this kind: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	lines := bufio.NewScanner(out)
	return cmd.Process, func(text string) string {
		t.Helper()
		var all []string
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return lines.Text()
			}
			all = append(all, lines.Text())
		}
		t.Fatalf("no line with %q, but %q", text, all)
		return ""
	}
}

// TestWatchOverflow stops a watcher's process until the kernel's queue is full.
func TestWatchOverflow(t *testing.T) {
	dir := t.TempDir()
	p, line := watchElsewhere(t, dir, &syscall.SysProcAttr{}, "")
	line("watching has started")
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	// A file makes two events at least.
	shell(t, dir, "mkdir d && seq 1 "+strings.TrimSpace(string(limit))+" | xargs touch && echo x >d/x")
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	line("overflow")
	for i := range 20 { // and all is watched again, whatever the order of things was
		testenv.WriteFile(t, filepath.Join(dir, "d", fmt.Sprint(i)), "x")
		time.Sleep(10 * time.Millisecond)
	}
	line(`batch of 1, ""`)
}

// TestWatchTooMany has a user's watches run out: it is said how to allow more,
// and all is compared from time to time.
func TestWatchTooMany(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		testenv.WriteFile(t, filepath.Join(dir, fmt.Sprint("d", i), "f"), "x")
	}
	_, line := watchElsewhere(t, dir, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}, "echo 10 >/proc/sys/user/max_inotify_watches")
	if warning := line("not all directories can be watched"); !strings.Contains(warning, "fs.inotify.max_user_watches") {
		t.Errorf("the remedy is not named: %s", warning)
	}
	line("watching has started")
	for range 3 {
		line("not all directories can be watched")
	}
}
