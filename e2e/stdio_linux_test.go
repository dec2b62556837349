package e2e

import (
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// pipes is the standard input and output of a process.
type pipes struct {
	io.Reader
	io.WriteCloser
}

// stdio is dapbridge as the debug adapter of an IDE.
type stdio struct {
	*dapclient.Client
	cmd *exec.Cmd
	log *testenv.Buffer
}

func (f *fixture) stdio(t *testing.T, args ...string) *stdio {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s := &stdio{cmd: f.command(ctx, userUID, append([]string{"serve", "--stdio"}, args...)...), log: &testenv.Buffer{}}
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.Client = dapclient.New(pipes{out, in})
	t.Cleanup(func() {
		cancel()
		s.Close()
	})
	return s
}

// exit closes standard input and returns how the process exits.
func (s *stdio) exit(t *testing.T) error {
	t.Helper()
	if err := s.Close(); err != nil { // which reads to the end
		t.Error(err)
	}
	return s.cmd.Wait()
}

// TestStdio starts dapbridge as a debug adapter: a session, its end by the end of
// standard input, and a node that cannot be reached.
func TestStdio(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	s := f.stdio(t, f.nodeArgs()...)
	pod := haltTarget(t, f, s.Client)
	if err := s.exit(t); err != nil {
		t.Errorf("%v\n%s", err, s.log)
	}
	f.waitFree(t, pid, 5*time.Second)
	f.waitDeserted(t, 5*time.Second)
	f.checkWorks(t, pod)

	key := filepath.Join(f.node.MinikubeHome(), "machines", f.node.Name(), "id_rsa")
	s = f.stdio(t, "--node", "ssh://docker@127.0.0.1:1", "--identity", key)
	if _, err := s.Initialize(short(t)); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the IDE gets %v", err)
	}
	if err := s.exit(t); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(s.log.String(), "connection refused") {
		t.Errorf("%v\n%s", err, s.log)
	}
}
