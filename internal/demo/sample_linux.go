package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

//go:embed sample/*.txt
var sampleSource embed.FS

const heartbeatInterval = 200 * time.Millisecond // as in the sample's source

// sample is the target. There are two copies of its source: where it was built, and
// where the user edits it.
type sample struct {
	dir              string // contains the following ones
	build, workspace string // directories
	breakpoint       int    // the line in main.go to stop at

	cmd           *exec.Cmd
	stdin         io.Closer
	stderr        bytes.Buffer // may be read once done is closed
	done          chan struct{}
	heartbeatFile string
	startTime     string // from /proc/PID/stat, since a pid can be reused
}

// newSample writes the source below dir and builds it.
func newSample(ctx context.Context, dir string) (*sample, error) {
	s := &sample{
		dir: dir, build: filepath.Join(dir, "build", "greeter"), workspace: filepath.Join(dir, "workspace", "greeter"),
		heartbeatFile: filepath.Join(dir, "heartbeat"), done: make(chan struct{}),
	}
	for _, to := range []string{s.build, s.workspace} {
		if err := writeSampleSource(to); err != nil {
			return nil, diag.Errorf(diag.WriteFailed, "write the sample: %w", err)
		}
	}
	source, err := os.ReadFile(s.source())
	if err != nil {
		return nil, fmt.Errorf("read the sample: %w", err)
	}
	before, _, ok := bytes.Cut(source, []byte("// breakpoint\n"))
	if !ok {
		return nil, errors.New("the sample has no line marked as breakpoint")
	}
	s.breakpoint = 1 + bytes.Count(before, []byte("\n"))
	return s, s.compile(ctx)
}

// source returns the file that the user would have open.
func (s *sample) source() string { return filepath.Join(s.workspace, "main.go") }

// relative returns a path relative to the demo's directory, for display.
func (s *sample) relative(path string) string {
	return strings.TrimPrefix(path, s.dir+string(filepath.Separator))
}

func writeSampleSource(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	names, err := fs.Glob(sampleSource, "sample/*.txt")
	if err != nil {
		return err
	}
	for _, name := range names {
		content, err := sampleSource.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimSuffix(filepath.Base(name), ".txt"))
		if err := os.WriteFile(to, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// compile builds the sample with the user's Go toolchain, independently of its
// settings.
func (s *sample) compile(ctx context.Context) error {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return diag.Errorf(diag.Unsupported, "the demo builds a sample program, but there is no Go toolchain in PATH: %w", err).
			WithHint("install Go from https://go.dev/dl, or run dapbridge serve against a node")
	}
	cmd := exec.CommandContext(ctx, goTool, "build", "-buildvcs=false", "-gcflags", "all=-N -l", "-o", "greeter", ".")
	cmd.Dir = s.build
	cmd.Env = append(cmd.Environ(), "GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on",
		"GOTOOLCHAIN=local", "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("go build: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// start runs the sample and waits for its first heartbeats.
func (s *sample) start(ctx context.Context) error {
	s.cmd = exec.Command(filepath.Join(s.build, "greeter"), s.heartbeatFile)
	s.cmd.Dir, s.cmd.Stderr = "/", &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // shields it from Ctrl-C
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the sample: %w", err)
	}
	s.stdin = stdin
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("start the sample (is %s mounted noexec?): %w", s.build, err)
	}
	go func() { // joined by stop
		defer close(s.done)
		_ = s.cmd.Wait() // stop kills it
	}()
	if s.startTime, err = readStartTime(s.pid()); err != nil {
		return err
	}
	return s.waitForHeartbeats(ctx)
}

func (s *sample) pid() int { return s.cmd.Process.Pid }

// stop ends the sample, whatever state it is in.
func (s *sample) stop() {
	if s.cmd == nil {
		return
	}
	_ = syscall.Kill(-s.pid(), syscall.SIGKILL) // it may have ended already
	<-s.done
	_ = s.stdin.Close() // Wait has closed it already
}

// waitForHeartbeats waits for two more heartbeats.
func (s *sample) waitForHeartbeats(ctx context.Context) error {
	first := s.heartbeats()
	return s.poll(ctx, func() error {
		if now := s.heartbeats(); now < first+2 {
			return fmt.Errorf("no heartbeat since %d", now)
		}
		return nil
	})
}

// heartbeats returns how many requests the sample has handled.
func (s *sample) heartbeats() int {
	b, err := os.ReadFile(s.heartbeatFile)
	if err != nil || len(b) < 12 {
		return 0 // not written yet
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b[:12])))
	if err != nil {
		return 0
	}
	return n
}

// poll calls check until it returns nil. It fails if the sample ends.
func (s *sample) poll(ctx context.Context, check func() error) error {
	tick := time.NewTicker(heartbeatInterval / 10)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.done:
			return fmt.Errorf("the sample ended: %v %s", s.cmd.ProcessState, bytes.TrimSpace(s.stderr.Bytes()))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}
