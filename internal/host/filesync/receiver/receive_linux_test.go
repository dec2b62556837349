package receiver

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/receive"
	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// started is what a process of its own is to do, for it gives up root for good.
type started struct {
	Top         string
	Look, Force bool
	User        receive.User
}

const startedVariable = "DAPBRIDGE_TEST_RECEIVE"

// TestMain is a receiver if a test has started it.
func TestMain(m *testing.M) {
	var s started
	if err := json.Unmarshal([]byte(os.Getenv(startedVariable)), &s); err != nil {
		os.Exit(m.Run())
	}
	if err := receive.Receive(receive.Config{Top: s.Top, ReadOnly: s.Look, Now: time.Unix(0, 0), In: os.Stdin, Out: os.Stdout}, s.User, s.Force); err != nil {
		os.Exit(1)
	}
}

// receive starts a receiver. Its error is what the host is told.
func startReceiver(t *testing.T, s started) (*Client, error) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), startedVariable+"="+string(text))
	toNode, toHost := newPipe(t), newPipe(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = toNode.r, toHost.w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toHost.w.Close()
	t.Cleanup(func() {
		toNode.w.Close()
		toHost.r.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the receiver: %v", err)
		}
	})
	return Connect(toHost.r, toNode.w, func() { toNode.w.Close() })
}

func TestLoggedIn(t *testing.T) {
	me, err := receive.LookupUser("")
	if err != nil || me.UID != os.Getuid() || me.GID != os.Getgid() {
		t.Errorf("%+v, %v", me, err)
	}
	if u, err := receive.LookupUser("1"); err != nil || u.UID != 1 || u.GID == 0 || slices.Contains(u.Groups, 0) {
		t.Errorf("%+v, %v", u, err)
	}
	for _, text := range []string{"nobody knows", "-1"} {
		if u, err := receive.LookupUser(text); err == nil {
			t.Errorf("%q is %+v", text, u)
		}
	}
}

// TestReceive makes the directory as root, and writes as somebody else.
func TestReceive(t *testing.T) {
	testenv.NeedsRoot(t, "it becomes another user")
	somebody := receive.User{UID: 65534, GID: 65534, Groups: []int{65534, 65533}}
	dir, err := os.MkdirTemp("", "receive-") // t.TempDir's parent is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	mkdir := func(name string) string {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
		return at(name)
	}
	owner := func(name string) int {
		info, err := os.Lstat(name)
		if err != nil {
			return -1
		}
		return int(info.Sys().(*syscall.Stat_t).Uid)
	}
	host := mkdir("host")
	writeMode(t, filepath.Join(host, "f"), "host's", 0o644)
	root, err := os.OpenRoot(host)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	put := func(t *testing.T, c *Client) (r Result) {
		t.Helper()
		e, _ := tree.Lstat(root, "f")
		if err := c.Apply(t.Context(), root, []Change{{Want: e}}, func(_ Change, got Result) { r = got }); err != nil {
			t.Fatal(err)
		}
		return r
	}

	t.Run("made", func(t *testing.T) {
		top := at("go/src/made")
		c, err := startReceiver(t, started{Top: top, User: somebody})
		if err != nil {
			t.Fatal(err)
		}
		if r := put(t, c); r.Err != nil {
			t.Error(r.Err)
		}
		for name, want := range map[string]int{filepath.Join(top, "f"): 65534, top: 65534, filepath.Dir(top): 0, filepath.Join(filepath.Dir(top), receive.BackupDir): 65534} {
			if got := owner(name); got != want {
				t.Errorf("%s is of %d, not %d", name, got, want)
			}
		}
		// What root alone may read is not read, and what it may write not written.
		secret := filepath.Join(top, "secret")
		writeMode(t, secret, "root's", 0o600)
		if err := c.HashFiles([]string{"secret"}, func(_ string, _ []byte, err error) {
			if err == nil {
				t.Error("somebody else's file was read")
			}
		}); err != nil {
			t.Error(err)
		}
		// What was changed there can be kept, though the directory is root's.
		writeMode(t, filepath.Join(top, "f"), "edited", 0o644)
		if r := put(t, c); r.Err != nil || content(t, r.Kept) != "edited" {
			t.Errorf("%+v", r)
		}
		if _, err := startReceiver(t, started{Top: top, User: somebody}); diag.CodeOf(err) != diag.SyncBusy {
			t.Errorf("a second receiver: %v", err)
		}
		look, err := startReceiver(t, started{Top: top, Look: true, User: somebody})
		if err != nil || !look.TopExists() {
			t.Errorf("one that only looks: %v", err)
		}
	})
	t.Run("looking makes nothing", func(t *testing.T) {
		c, err := startReceiver(t, started{Top: at("go2/none"), Look: true, User: somebody})
		if err != nil || c.TopExists() {
			t.Errorf("%v", err)
		}
		if _, err := os.Lstat(at("go2")); err == nil {
			t.Error("the directory was made")
		}
	})
	t.Run("refused", func(t *testing.T) {
		mkdir("others/sub")
		writeMode(t, at("file"), "x", 0o644)
		if err := os.Symlink("others", at("link")); err != nil {
			t.Fatal(err)
		}
		for top, why := range map[string]string{
			at("others"): "another user", at("link"): "symbolic link to others", at("link/sub"): "symbolic link to others",
			at("file"): "not a directory", at("file/f"): "not a directory", "relative": "not a directory", "/": "not a directory", dir + "/a/../b": "not a directory",
		} {
			for _, look := range []bool{false, true} {
				if look && top == at("others") {
					continue // looking hurts nobody
				}
				if _, err := startReceiver(t, started{Top: top, Look: look, User: somebody}); diag.CodeOf(err) != diag.SyncRefused || !strings.Contains(err.Error(), why) {
					t.Errorf("%s: %v", top, err)
				}
			}
		}
		if owner(at("others")) != 0 || owner(at("others/sub")) != 0 {
			t.Error("a directory has got another owner")
		}
	})
	t.Run("not to be reached", func(t *testing.T) {
		if err := os.Chmod(mkdir("closed"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := startReceiver(t, started{Top: at("closed/top"), User: somebody}); diag.CodeOf(err) != diag.SyncRefused || !strings.Contains(err.Error(), "may not enter") {
			t.Errorf("%v", err)
		}
	})
	t.Run("forced", func(t *testing.T) {
		top := mkdir("forced/sub")
		c, err := startReceiver(t, started{Top: filepath.Dir(top), User: somebody, Force: true})
		if err != nil {
			t.Fatal(err)
		}
		if r := put(t, c); r.Err != nil || owner(filepath.Dir(top)) != 65534 || owner(top) != 0 {
			t.Errorf("%+v", r)
		}
	})
}
