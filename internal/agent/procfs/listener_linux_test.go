package procfs

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestListener(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if pid := findSocketOwner("", socket); pid != 0 {
		t.Errorf("nobody listens there, not pid %d", pid)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if pid := findSocketOwner("", socket); pid != os.Getpid() {
		t.Errorf("pid %d listens there, not %d", os.Getpid(), pid)
	}
}

// TestFrozen checks a process whose cgroup is not frozen; e2e has one that is.
func TestFrozen(t *testing.T) {
	if IsFrozen(os.Getpid()) {
		t.Error("this process is not frozen")
	}
}

// TestService finds this process by a socket that it holds, also through a link to it.
func TestService(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := os.Symlink(".", filepath.Join(dir, "var")); err != nil {
		t.Fatal(err)
	}
	for socket, want := range map[string]int{filepath.Join(dir, "s"): os.Getpid(), filepath.Join(dir, "var", "s"): os.Getpid(), filepath.Join(dir, "other"): 1} {
		if got := findServiceProcess("/proc/self/root", socket); got != want {
			t.Errorf("%s is held by %d, want %d", socket, got, want)
		}
	}
}
