package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/execconn/enginetest"
)

// dockerNode presents the shared node as a container of an engine, with stand-ins for
// the clients docker and podman in the user's PATH.
func (f *fixture) dockerNode(t *testing.T) (engine *enginetest.Engine, args []string) {
	t.Helper()
	engine = enginetest.Start(t, userUID, map[string]enginetest.Container{
		f.node.Name(): {Status: "running", Command: func(argv []string) *exec.Cmd {
			return f.node.Command(context.Background(), argv...)
		}},
	})
	t.Setenv("PATH", engine.Dir+":"+os.Getenv("PATH"))
	return engine, []string{"--node", "docker:" + f.node.Name()}
}

// withoutSudo removes sudo from the node, as on a node of kind.
func (f *fixture) withoutSudo(t *testing.T) {
	t.Helper()
	sudo := filepath.Join(f.node.RootFS(), "usr/bin/sudo")
	if err := os.Rename(sudo, sudo+".away"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Rename(sudo+".away", sudo); err != nil {
			t.Error(err)
		}
	})
}

// TestDockerSession is the main use on a node that is reached only through a container
// engine.
func TestDockerSession(t *testing.T) {
	f := setupAll(t)
	_, args := f.dockerNode(t)
	f.withoutSudo(t)
	pid := f.containerd(t)
	s := f.serveNode(t, args...)
	sessionOn(t, f, s, pid)
	s.stop(t)
	f.waitDeserted(t, 5*time.Second)
}

// TestDockerClientDies kills the engine's client while containerd is halted: the command
// on the node sees the end of its input, and no signal.
func TestDockerClientDies(t *testing.T) {
	f := setupAll(t)
	engine, args := f.dockerNode(t)
	for _, carries := range []string{"supervise", "join"} {
		t.Run(carries, func(t *testing.T) {
			pid := f.containerd(t)
			s := f.serveNode(t, args...)
			pod := haltTarget(t, f, s.dial(t))
			pids := engine.Clients(carries)
			if len(pids) != 1 {
				t.Fatalf("clients that carry %s: %v", carries, pids)
			}
			if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			f.waitFree(t, pid, 5*time.Second)
			f.checkWorks(t, pod)
			s.stop(t)
			f.waitDeserted(t, 5*time.Second)
		})
	}
}

// TestDockerMessages names containers in which the engine cannot run a command.
func TestDockerMessages(t *testing.T) {
	f := setupAll(t)
	f.dockerNode(t)
	f.runFailing(t, failure{3, "docker has no container nosuch", "running containers: " + f.node.Name()}, "ps", "--node", "docker:nosuch")
	f.runFailing(t, failure{2, "not a valid container name", "docker ps"}, "ps", "--node", "docker:--help")
	t.Setenv("PATH", t.TempDir())
	f.runFailing(t, failure{3, "the command podman was not found", "install"}, "ps", "--node", "podman:x")
}
