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

// shells runs f with each shell that a node may have. With busybox, all other tools
// are its own too.
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

// agentText stands in for the agent: a shell script is a program too.
const agentText = "#!/bin/sh\n[ \"$1\" != version ] || exit 0\nprintf '<%s>' \"$@\"\n"

func reader(data []byte) io.Reader { return bytes.NewReader(data) }

func compress(data string) []byte {
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
		checkAbsent := func() {
			t.Helper()
			_, stderr, exit := run(nil, startScript, hash, dir, "--", "x")
			checkExit(t, exit, 127, stderr)
			if want := absentMark + uname(t) + "\n"; stderr != want {
				t.Errorf("stderr %q, want %q", stderr, want)
			}
		}
		checkAbsent()
		stdout, stderr, exit := run(reader(compress(agentText)), uploadScript, "token", hash, "60", "/nowhere/x", dir)
		checkExit(t, exit, 0, stderr)
		if want := readyMark + "gzip\n" + storedMark + dir + "/" + hash + "/dapbridge\n"; stdout != want {
			t.Errorf("upload: stdout %q, want %q", stdout, want)
		}
		if want := "/nowhere does not exist"; !strings.Contains(stderr, want) {
			t.Errorf("upload: stderr %q, want %q", stderr, want)
		}
		stdout, stderr, exit = run(nil, startScript, hashOf("another")+" "+hash, "/nowhere/x", dir, "/tmp", "--", "a b", "--", "")
		checkExit(t, exit, 0, stderr)
		if want := startMark + "<a b><--><>"; stdout != want {
			t.Errorf("start: stdout %q, want %q", stdout, want)
		}
		if err := os.Rename(dir, dir+"2"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir+"2", dir); err != nil {
			t.Fatal(err)
		}
		checkAbsent() // symbolic links are not followed
		_, stderr, exit = run(reader(compress(agentText)), uploadScript, "token", hash, "60", dir)
		checkExit(t, exit, exitNoDir, stderr)
	})
}

// uname returns this machine's platform.
func uname(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("uname", "-s", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func checkExit(t *testing.T, got, want int, stderr string) {
	t.Helper()
	if got != want {
		t.Errorf("exit status %d, want %d: %s", got, want, stderr)
	}
}

// checkEmpty checks that a directory has no entries.
func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left behind", e.Name())
	}
}

func TestUploadScriptFailures(t *testing.T) {
	shells(t, func(t *testing.T, run func(io.Reader, string, ...string) (string, string, int)) {
		dir := filepath.Join(t.TempDir(), "d")
		whole, hash := compress(agentText), hashOf(agentText)
		broken := "#!/bin/sh\nexit 3\n"
		for _, c := range []struct {
			name string
			data []byte
			hash string
			exit int
		}{
			{"truncated", whole[:len(whole)/2], hash, exitWrite},
			{"empty", nil, hash, exitWrite},
			{"another file", compress("other"), hash, exitDamaged},
			{"does not run", compress(broken), hashOf(broken), exitNotRun},
		} {
			t.Run(c.name, func(t *testing.T) {
				_, stderr, exit := run(reader(c.data), uploadScript, "token", c.hash, "60", dir)
				checkExit(t, exit, c.exit, stderr)
				checkEmpty(t, dir)
			})
		}
	})
}

// An upload fails if its input stops in the middle of the file.
func TestUploadScriptIdleTimeout(t *testing.T) {
	whole, hash := compress(agentText), hashOf(agentText)
	shells(t, func(t *testing.T, run func(io.Reader, string, ...string) (string, string, int)) {
		dir := filepath.Join(t.TempDir(), "d")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		if _, err := w.Write(whole[:len(whole)/2]); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, stderr, exit := run(r, uploadScript, "token", hash, "1", dir)
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("took %s", took)
		}
		checkExit(t, exit, exitWrite, stderr)
		if want := "nothing arrived for 1 seconds"; !strings.Contains(stderr, want) {
			t.Errorf("stderr %q, want %q", stderr, want)
		}
		checkEmpty(t, dir)
	})
}

// An upload removes old agents and old temporary files.
func TestUploadScriptCleansUp(t *testing.T) {
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
		if _, stderr, exit := run(reader(compress(agentText)), uploadScript, "token", hash, "60", dir); exit != 0 {
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
			t.Errorf("%q are left, want %q", names, want)
		}
	})
}
