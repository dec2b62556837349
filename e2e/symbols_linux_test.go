package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// built is what `dapbridge symbols -o json` prints.
type built struct {
	Target struct {
		PID int `json:"pid"`
	} `json:"target"`
	Kept struct {
		Size  int64 `json:"size"`
		Times struct {
			Sources, Build, Proof time.Duration
		} `json:"times"`
	} `json:"kept"`
	Built bool          `json:"built"`
	Sent  bool          `json:"sent"`
	Send  time.Duration `json:"send"`
}

// symbols runs dapbridge symbols as the user and returns what it says.
func (f *fixture) symbols(t testing.TB, args ...string) built {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := f.command(ctx, userUID, append(append([]string{"symbols", "-o", "json"}, f.nodeArgs()...), args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("dapbridge symbols: %v\n%s", err, &said)
	}
	var b built
	if err := json.Unmarshal(out.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStripped is the case that needs no other build on the node: the stripped
// containerd that runs there is debugged by the symbols of its twin, which the
// user builds in another directory than it was built in.
func TestStripped(t *testing.T) {
	f := setup(t)
	f.use(t, testbed.Stripped)
	pid := f.containerd(t)
	before := f.executable(t, pid)

	s := f.serve(t)
	line := f.lineOf(t, createContainerFile, createContainerCode)
	c := s.dial(t)
	_, err := c.Attach(short(t), dapclient.AttachOptions{Breakpoints: map[string][]int{f.file(createContainerFile): {line}}})
	if err == nil || !strings.Contains(err.Error(), "dapbridge symbols") {
		t.Fatalf("before the symbols are built: %v", err)
	}
	c.Close()

	b := f.symbols(t, f.source)
	if !b.Built || !b.Sent || b.Target.PID != pid || b.Kept.Size > 20<<20 {
		t.Errorf("symbols: %+v", b)
	}
	t.Logf("source %v, build %v, proof %v, %d bytes sent in %v", b.Kept.Times.Sources, b.Kept.Times.Build, b.Kept.Times.Proof, b.Kept.Size, b.Send)
	if again := f.symbols(t, f.source); again.Built || again.Sent {
		t.Errorf("the second time: %+v", again)
	}

	f.stopsInStripped(t, s, line)
	if after := f.executable(t, pid); after != before {
		t.Errorf("containerd's executable was %s and is %s", before, after)
	}
	f.free(t, pid, 5*time.Second)
}

// stopsInStripped has a session stop in CreateContainer, and looks.
func (f *fixture) stopsInStripped(t *testing.T, s *server, line int) {
	t.Helper()
	ctx := short(t)
	c := s.dial(t)
	pod, stop := stopInCreateContainer(t, f, c, line)
	frames, total, err := c.StackTrace(ctx, stop.ThreadId, 0, 50)
	if err != nil {
		t.Fatal(err)
	}
	checkStack(t, f, frames, total, line)
	dependency := false
	for _, fr := range frames {
		dependency = dependency || fr.Source != nil && strings.HasPrefix(fr.Source.Path, filepath.Join(f.source, "vendor"))
	}
	if !dependency {
		t.Error("no frame of a dependency is in the user's vendor directory")
	}
	if name, _, err := c.Evaluate(ctx, frames[0].Id, "r.SandboxConfig.Metadata.Name", "watch"); err != nil || !strings.HasPrefix(name, `"`+pod) {
		t.Errorf("the pod's name in the request is %s (%v), want %s", name, err, pod)
	}
	if !strings.Contains(c.Output(), "built for speed") {
		t.Errorf("the console does not say what optimised code means:\n%s", c.Output())
	}
	if err := c.Continue(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	f.podRuns(t, pod)
	if err := c.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
}

// executable is what the process runs: path, size, times and inode.
func (f *fixture) executable(t *testing.T, pid int) string {
	t.Helper()
	out, err := f.node.Exec(t.Context(), "sh", "-c", "readlink /proc/$1/exe; stat -L -c '%i %s %Y %Z' /proc/$1/exe; systemctl show --property=MainPID,ExecMainStartTimestamp containerd", "sh", strconv.Itoa(pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
