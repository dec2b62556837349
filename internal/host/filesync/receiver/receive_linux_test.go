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

// receiverArgs configures a receiver in a process of its own, since it gives up root for
// good.
type receiverArgs struct {
	Top             string
	ReadOnly, Force bool
	User            receive.User
}

const receiverVariable = "DAPBRIDGE_TEST_RECEIVE"

// TestMain is the receiver's process if a test has started it.
func TestMain(m *testing.M) {
	var a receiverArgs
	if err := json.Unmarshal([]byte(os.Getenv(receiverVariable)), &a); err != nil {
		os.Exit(m.Run())
	}
	cfg := receive.Config{Top: a.Top, ReadOnly: a.ReadOnly, Now: time.Unix(0, 0), In: os.Stdin, Out: os.Stdout}
	if err := receive.Receive(cfg, a.User, a.Force); err != nil {
		os.Exit(1)
	}
}

// startReceiver starts a receiver's process and connects to it.
func startReceiver(t *testing.T, a receiverArgs) (*Client, error) {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), receiverVariable+"="+string(text))
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

func TestLookupUser(t *testing.T) {
	me, err := receive.LookupUser("")
	if err != nil {
		t.Fatal(err)
	}
	if me.UID != os.Getuid() || me.GID != os.Getgid() {
		t.Errorf("this user is %+v", me)
	}
	u, err := receive.LookupUser("1")
	if err != nil {
		t.Fatal(err)
	}
	if u.UID != 1 || u.GID == 0 || slices.Contains(u.Groups, 0) {
		t.Errorf("user 1 is %+v", u)
	}
	for _, text := range []string{"nobody knows", "-1"} {
		if u, err := receive.LookupUser(text); err == nil {
			t.Errorf("%q is %+v", text, u)
		}
	}
}

// receiveTest is a directory that other users may enter, with a host's tree in it.
type receiveTest struct {
	dir  string
	root *os.Root // of the host's tree, which holds the file f
	user receive.User
}

func newReceiveTest(t *testing.T) *receiveTest {
	t.Helper()
	testenv.NeedsRoot(t, "the receiver becomes another user")
	dir, err := os.MkdirTemp("", "receive-") // only root may enter the parent of t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &receiveTest{dir: dir, user: receive.User{UID: 65534, GID: 65534, Groups: []int{65534, 65533}}}
	writeMode(t, filepath.Join(r.mkdir(t, "host"), "f"), "host's", 0o644)
	if r.root, err = os.OpenRoot(r.at("host")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.root.Close() })
	return r
}

func (r *receiveTest) at(name string) string { return filepath.Join(r.dir, name) }

func (r *receiveTest) mkdir(t *testing.T, name string) string {
	t.Helper()
	if err := os.MkdirAll(r.at(name), 0o755); err != nil {
		t.Fatal(err)
	}
	return r.at(name)
}

// put copies f.
func (r *receiveTest) put(t *testing.T, c *Client) (result Result) {
	t.Helper()
	e, _ := tree.Lstat(r.root, "f")
	if err := c.Apply(t.Context(), r.root, []Change{{Want: e}}, func(_ Change, got Result) { result = got }); err != nil {
		t.Fatal(err)
	}
	return result
}

func checkOwner(t *testing.T, name string, want int) {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Error(err)
		return
	}
	if got := int(info.Sys().(*syscall.Stat_t).Uid); got != want {
		t.Errorf("%s belongs to %d, want %d", name, got, want)
	}
}

// TestReceiveAsUser creates the directory as root and writes to it as another user.
func TestReceiveAsUser(t *testing.T) {
	r := newReceiveTest(t)
	top := r.at("go/src/made")
	c, err := startReceiver(t, receiverArgs{Top: top, User: r.user})
	if err != nil {
		t.Fatal(err)
	}
	checkDone(t, "f", r.put(t, c))
	checkOwner(t, filepath.Join(top, "f"), r.user.UID)
	checkOwner(t, top, r.user.UID)
	checkOwner(t, filepath.Dir(top), 0)
	checkOwner(t, filepath.Join(filepath.Dir(top), receive.BackupDir), r.user.UID)

	t.Run("cannot read root's files", func(t *testing.T) {
		writeMode(t, filepath.Join(top, "secret"), "root's", 0o600)
		if err := c.HashFiles([]string{"secret"}, func(_ string, _ []byte, err error) {
			if err == nil {
				t.Error("root's file was read")
			}
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("keeps files though the parent is root's", func(t *testing.T) {
		writeMode(t, filepath.Join(top, "f"), "edited", 0o644)
		checkKept(t, "f", r.put(t, c), "edited")
	})
	t.Run("is alone", func(t *testing.T) {
		if _, err := startReceiver(t, receiverArgs{Top: top, User: r.user}); diag.CodeOf(err) != diag.SyncBusy {
			t.Errorf("a second receiver: got %v, want code %s", err, diag.SyncBusy)
		}
	})
	t.Run("except for read-only ones", func(t *testing.T) {
		c, err := startReceiver(t, receiverArgs{Top: top, ReadOnly: true, User: r.user})
		if err != nil {
			t.Fatal(err)
		}
		if !c.TopExists() {
			t.Error("the directory is reported as missing")
		}
	})
}

func TestReadOnlyCreatesNothing(t *testing.T) {
	r := newReceiveTest(t)
	c, err := startReceiver(t, receiverArgs{Top: r.at("go2/none"), ReadOnly: true, User: r.user})
	if err != nil {
		t.Fatal(err)
	}
	if c.TopExists() {
		t.Error("the directory is reported as existing")
	}
	if _, err := os.Lstat(r.at("go2")); err == nil {
		t.Error("the directory was created")
	}
}

func TestReceiveRefusesDirectories(t *testing.T) {
	r := newReceiveTest(t)
	r.mkdir(t, "others/sub")
	writeMode(t, r.at("file"), "x", 0o644)
	if err := os.Symlink("others", r.at("link")); err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, a receiverArgs, reason string) {
		t.Helper()
		a.User = r.user
		_, err := startReceiver(t, a)
		if diag.CodeOf(err) != diag.SyncRefused || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s, read-only %v: got %v, want %q", a.Top, a.ReadOnly, err, reason)
		}
	}
	for top, reason := range map[string]string{
		r.at("link"): "symbolic link to others", r.at("link/sub"): "symbolic link to others",
		r.at("file"): "not a directory", r.at("file/f"): "not a directory", "relative": "not a directory", "/": "not a directory", r.dir + "/a/../b": "not a directory",
	} {
		check(t, receiverArgs{Top: top}, reason)
		check(t, receiverArgs{Top: top, ReadOnly: true}, reason)
	}
	check(t, receiverArgs{Top: r.at("others")}, "another user")
	checkOwner(t, r.at("others"), 0)
	checkOwner(t, r.at("others/sub"), 0)

	if err := os.Chmod(r.mkdir(t, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	check(t, receiverArgs{Top: r.at("closed/top")}, "enter")
}

func TestForceTakesOverDirectory(t *testing.T) {
	r := newReceiveTest(t)
	r.mkdir(t, "forced/sub")
	c, err := startReceiver(t, receiverArgs{Top: r.at("forced"), User: r.user, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	checkDone(t, "f", r.put(t, c))
	checkOwner(t, r.at("forced"), r.user.UID)
	checkOwner(t, r.at("forced/sub"), 0)
}
