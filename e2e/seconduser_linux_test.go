package e2e

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// as runs a shell command as another user of the host.
func as(t *testing.T, uid uint32, line string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestSecondUser has another user of the host try to use the socket, cache and state of
// a daemon that was started with a permissive umask, in a home that everybody can enter.
func TestSecondUser(t *testing.T) {
	f := setupAll(t)
	defer syscall.Umask(syscall.Umask(0)) // which the daemon inherits
	home := filepath.Join(f.dir, "open-home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chown(home, userUID, userUID); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(home, "dap")
	s := f.serveEnv(t, []string{"HOME=" + home, "XDG_CACHE_HOME="}, append(f.nodeArgs(), "--listen", "unix:"+socket)...)

	if out, err := as(t, otherUID, "test -e "+socket); err != nil {
		t.Fatalf("the other user cannot reach the socket: %v %s", err, out)
	}
	if conn, err := dialNetAs(otherUID, "unix", socket); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another user opens the socket: %v, %v", conn, err)
	}
	conn, err := net.Dial("unix", socket) // root may open any, and is another user all the same
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(conn); len(got) > 0 || os.IsTimeout(err) {
		t.Errorf("root is answered %q (%v)", got, err)
	}
	eventually(t, 5*time.Second, func() string { // what it says is copied to us
		if said := s.log.String(); !strings.Contains(said, "belongs to user 0, not to our user 65534") {
			return "it said: " + said
		}
		return ""
	})

	for _, dir := range []string{filepath.Join(home, ".cache/dapbridge"), filepath.Join(home, ".local/state/dapbridge")} {
		for _, line := range []string{"ls " + dir, "cat " + dir + "/*", "touch " + dir + "/x", "mv " + dir + " " + dir + "2"} {
			if out, err := as(t, otherUID, line); err == nil || strings.Contains(out, "ssh-") {
				t.Errorf("%s: %v: %s", line, err, out)
			}
		}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %04o", path, info.Mode().Perm())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if pins := testenv.ReadFile(t, filepath.Join(home, ".local/state/dapbridge/pinned_hosts")); !strings.Contains(pins, "ssh-") {
		t.Errorf("nothing is pinned: %s", pins)
	}
}
