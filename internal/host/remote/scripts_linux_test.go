package remote

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// shells runs f with each shell that a node may have. For busybox all tools are
// busybox's too.
func shells(t *testing.T, f func(t *testing.T, run func(stdin io.Reader, script string, args ...string) (stdout, stderr string, exit int))) {
	for _, shell := range []string{"dash", "bash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			path := testenv.NeedsTool(t, shell)
			argv, env := []string{path}, os.Environ()
			if shell == "busybox" {
				bin := t.TempDir()
				if out, err := exec.Command(path, "--install", "-s", bin).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				argv, env = []string{path, "sh"}, append(env, "PATH="+bin)
			}
			f(t, func(stdin io.Reader, script string, args ...string) (string, string, int) {
				t.Helper()
				cmd := exec.Command(argv[0], append(append(argv[1:], "-c", script, "dapbridge"), args...)...)
				var stdout, stderr bytes.Buffer
				cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = stdin, &stdout, &stderr, env
				err := cmd.Run()
				var exit *exec.ExitError
				if err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
			})
		})
	}
}

// agentText stands for the agent: a shell script is a program too.
const agentText = "#!/bin/sh\n[ \"$1\" != version ] || exit 0\nprintf '<%s>' \"$@\"\n"

func sent(data []byte) io.Reader { return bytes.NewReader(data) }

func zipped(data string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(data))
	_ = z.Close()
	return b.Bytes()
}

func hashOf(data string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(data))) }

func TestScripts(t *testing.T) {
	shells(t, func(t *testing.T, run func(io.Reader, string, ...string) (string, string, int)) {
		dir := filepath.Join(t.TempDir(), "a dir's")
		hash := hashOf(agentText)
		absent := func() {
			t.Helper()
			_, stderr, exit := run(nil, startScript, hash, dir, "--", "x")
			if exit != 127 || !strings.Contains(stderr, absentMark) {
				t.Errorf("absent: exit %d, %q", exit, stderr)
			}
		}
		absent()
		stdout, stderr, exit := run(sent(zipped(agentText)), uploadScript, "token", hash, "60", "/nowhere/x", dir)
		if want := readyMark + "gzip\n" + storedMark + dir + "/" + hash + "/dapbridge\n"; stdout != want || exit != 0 {
			t.Errorf("upload: exit %d, %q, %q", exit, stdout, stderr)
		}
		if !strings.Contains(stderr, "/nowhere does not exist") {
			t.Errorf("upload: %q", stderr)
		}
		stdout, stderr, exit = run(nil, startScript, hash, "/nowhere/x", dir, "/tmp", "--", "a b", "--", "")
		if stdout != startMark+"<a b><--><>" || exit != 0 {
			t.Errorf("start: exit %d, %q, %q", exit, stdout, stderr)
		}
		if err := os.Rename(dir, dir+"2"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir+"2", dir); err != nil {
			t.Fatal(err)
		}
		absent() // a symlink is not looked into
		if _, _, exit := run(sent(zipped(agentText)), uploadScript, "token", hash, "60", dir); exit != exitNoDir {
			t.Errorf("upload over a symlink: exit %d", exit)
		}
	})
}

func TestUploadScriptFailures(t *testing.T) {
	shells(t, func(t *testing.T, run func(io.Reader, string, ...string) (string, string, int)) {
		dir := filepath.Join(t.TempDir(), "d")
		whole, hash := zipped(agentText), hashOf(agentText)
		broken := "#!/bin/sh\nexit 3\n"
		for _, c := range []struct {
			name string
			data []byte
			hash string
			exit int
		}{
			{"cut", whole[:len(whole)/2], hash, exitWrite},
			{"nothing", nil, hash, exitWrite},
			{"another file", zipped("other"), hash, exitDamaged},
			{"does not run", zipped(broken), hashOf(broken), exitNotRun},
		} {
			if _, stderr, exit := run(sent(c.data), uploadScript, "token", c.hash, "60", dir); exit != c.exit {
				t.Errorf("%s: exit %d, want %d: %s", c.name, exit, c.exit, stderr)
			}
			if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
				t.Errorf("%s: left %q", c.name, left)
			}
			if left, _ := filepath.Glob(dir + "/.*"); len(left) > 0 {
				t.Errorf("%s: left %q", c.name, left)
			}
		}
	})
}

// TestUploadScriptSilence has the wire go silent in the middle of the file.
func TestUploadScriptSilence(t *testing.T) {
	whole, hash := zipped(agentText), hashOf(agentText)
	shells(t, func(t *testing.T, run func(io.Reader, string, ...string) (string, string, int)) {
		dir := filepath.Join(t.TempDir(), "d")
		wire, end, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer wire.Close()
		defer end.Close()
		if _, err := end.Write(whole[:len(whole)/2]); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, stderr, exit := run(wire, uploadScript, "token", hash, "1", dir)
		if took := time.Since(start); exit != exitWrite || !strings.Contains(stderr, "nothing arrived for 1 seconds") || took > 15*time.Second {
			t.Errorf("exit %d after %s: %s", exit, took, stderr)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
	})
}

func TestUploadScriptTidies(t *testing.T) {
	shells(t, func(t *testing.T, run func(io.Reader, string, ...string) (string, string, int)) {
		dir := filepath.Join(t.TempDir(), "d")
		put := func(name string, age time.Duration, isDir bool) {
			t.Helper()
			path := filepath.Join(dir, name)
			var err error
			if isDir {
				err = os.MkdirAll(path, 0o700)
			} else {
				err = os.WriteFile(path, nil, 0o600)
			}
			when := time.Now().Add(-age)
			if err := errors.Join(err, os.Chtimes(path, when, when)); err != nil {
				t.Fatal(err)
			}
		}
		hex := func(digit string) string { return strings.Repeat(digit, 64) }
		put(hex("a"), 3*time.Hour, true)
		put(hex("b"), 2*time.Hour, true)
		put(hex("c"), 4*time.Hour, true)
		put("not-ours", 5*time.Hour, true)
		put(".tmp-STALE", 2*time.Hour, false)
		put(".tmp-FRESH", time.Minute, false)
		hash := hashOf(agentText)
		if _, stderr, exit := run(sent(zipped(agentText)), uploadScript, "token", hash, "60", dir); exit != 0 {
			t.Fatalf("exit %d: %s", exit, stderr)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		want := []string{".tmp-FRESH", hash, hex("b"), "not-ours"}
		if hash > hex("b") {
			want = []string{".tmp-FRESH", hex("b"), hash, "not-ours"}
		}
		if strings.Join(names, " ") != strings.Join(want, " ") {
			t.Errorf("left are %q, want %q", names, want)
		}
	})
}
