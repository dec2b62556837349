package target

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestListener(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if pid := listener(socket); pid != 0 {
		t.Errorf("nobody is pid %d", pid)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if pid := listener(socket); pid != os.Getpid() {
		t.Errorf("we are pid %d, not %d", os.Getpid(), pid)
	}
}

// TestFrozen is of a process in a cgroup that is not; e2e has one that is.
func TestFrozen(t *testing.T) {
	if Frozen(os.Getpid()) {
		t.Error("we are frozen, it says")
	}
}

func TestListening(t *testing.T) {
	const table = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000003 00000000 00000000 0001 03 11 /run/x.sock
0000000000000000: 00000002 00000000 00010000 0001 01 22 /run/x.sock
0000000000000000: 00000002 00000000 00010000 0001 01 33 @/run/y.sock
0000000000000000: 00000002 00000000 00010000 0001 01 44
`
	for socket, want := range map[string]string{"/run/x.sock": "22", "/proc/7/root/run/x.sock": "22", "/run/y.sock": "", "/x.sock": "", "": ""} {
		if got := listening([]byte(table), socket); got != want {
			t.Errorf("%s: %q, want %q", socket, got, want)
		}
	}
}

// TestHolder finds us by a socket that we hold.
func TestHolder(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	inode := listening(table, ln.Addr().String())
	if got := holder(inode, 1); inode == "" || got != os.Getpid() {
		t.Errorf("inode %q is held by %d, not by us, %d", inode, got, os.Getpid())
	}
	if got := holder("", 1); got != 1 {
		t.Errorf("nothing is held by %d", got)
	}
}
