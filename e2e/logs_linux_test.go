package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

// logs runs dapbridge logs and returns its output.
func (f *fixture) logs(t *testing.T, args ...string) (out, said string) {
	t.Helper()
	cmd := f.command(short(t), userUID, append(append([]string{"logs"}, f.nodeArgs()...), args...)...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil {
		t.Fatalf("dapbridge logs %q: %v\n%s", args, err, &e)
	}
	return o.String(), e.String()
}

// TestLogs reads the journal of a running target, also with -f, and of one that does not
// run.
func TestLogs(t *testing.T) {
	f := setup(t)
	t.Run("whole", func(t *testing.T) {
		f.root(t, "systemd-run --quiet --wait --unit=dapbridge-said printf 'one\\033[2Jtwo\\n'")
		out, _ := f.logs(t, "--since", "1h", "--target", "dapbridge-said") // which is no executable's name: it does not run
		if !strings.Contains(out, `one\x1b[2Jtwo`) || strings.Contains(out, "\x1b") {
			t.Errorf("%q", out)
		}
		if out, _ := f.logs(t, "--since", "1h"); !strings.Contains(out, "containerd successfully booted") {
			t.Errorf("no start of containerd in its journal:\n%.2000s", out)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		out, said := f.logs(t, "--target", "nobody")
		if out != "" || !strings.Contains(said, "has no entries for nobody.service") {
			t.Errorf("%q, %q", out, said)
		}
	})
	t.Run("no unit", func(t *testing.T) {
		f.runFailing(t, failure{4, "runs in no systemd service", "dapbridge ps"}, append([]string{"logs", "--pid", strconv.Itoa(f.run(t, "loose"))}, f.nodeArgs()...)...)
	})
	t.Run("follow", func(t *testing.T) { f.checkFollowing(t) })
	f.waitDeserted(t, 5*time.Second)
}

// checkFollowing checks that lines arrive when they are written, and that Ctrl-C leaves
// nothing on the node.
func (f *fixture) checkFollowing(t *testing.T) {
	ctx, cancel := context.WithCancel(short(t))
	defer cancel()
	cmd := f.command(ctx, userUID, append([]string{"logs", "-f"}, f.nodeArgs()...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("no line")
	}
	if err := f.node.SwapContainerd(ctx, testbed.Make); err != nil { // which it logs
		t.Fatal(err)
	}
	fresh := fmt.Sprintf("containerd[%d]: ", f.containerd(t))
	for !strings.Contains(lines.Text(), fresh) && lines.Scan() {
	}
	cmd.Process.Signal(syscall.SIGINT)
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	eventually(t, 5*time.Second, func() string {
		out, _ := f.node.Exec(context.Background(), "pgrep", "-a", "journalctl")
		return string(out)
	})
}
