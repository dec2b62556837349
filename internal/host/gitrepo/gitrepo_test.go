package gitrepo

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "protocol.file.allow=always", "-c", "core.hooksPath=/dev/null"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// newRepository makes a repository with one commit of the files, and returns its
// directory and the commit.
func newRepository(t *testing.T, files map[string]string, initArgs ...string) (dir, commit string) {
	t.Helper()
	testenv.NeedsTool(t, "git")
	dir = realPath(t.TempDir())
	runGit(t, dir, append([]string{"init", "--quiet"}, initArgs...)...)
	return dir, commitFiles(t, dir, files)
}

func commitFiles(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		testenv.WriteFile(t, filepath.Join(dir, name), text)
	}
	runGit(t, dir, "add", "--all")
	runGit(t, dir, "commit", "--quiet", "--message=x")
	return runGit(t, dir, "rev-parse", "HEAD")
}

func open(t *testing.T, dir string) *Repository {
	t.Helper()
	r, err := Open(t.Context(), os.Environ(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkFiles checks the content of files below dir.
func checkFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, want := range files {
		testenv.Equal(t, name, testenv.ReadFile(t, filepath.Join(dir, name)), want)
	}
}

// checkoutWays are the ways in which a commit can be checked out.
func checkoutWays() map[string]func(*Repository, context.Context, string, string) ([]Submodule, error) {
	return map[string]func(*Repository, context.Context, string, string) ([]Submodule, error){
		"own repository": (*Repository).CheckOut, "worktree": (*Repository).AddWorktree,
	}
}

// TestCheckOut checks an older commit out while the user's working tree has changes,
// which stay as they are.
func TestCheckOut(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		for name, checkOut := range checkoutWays() {
			t.Run(name+" "+format, func(t *testing.T) {
				dir, first := newRepository(t, map[string]string{"a.go": "package a\n", "sub/b.go": "package b\r\n"}, "--object-format="+format)
				commitFiles(t, dir, map[string]string{"a.go": "package changed\n"})
				testenv.WriteFile(t, filepath.Join(dir, "a.go"), "not committed")
				before := runGit(t, dir, "status", "--porcelain", "--branch")
				r := open(t, filepath.Join(dir, "sub"))
				testenv.Equal(t, "the top", r.Top, dir)
				to := filepath.Join(realPath(t.TempDir()), "tree")
				missing, err := checkOut(r, t.Context(), to, first)
				if err != nil {
					t.Fatal(err)
				}
				testenv.Equal(t, "the missing submodules", len(missing), 0)
				checkFiles(t, to, map[string]string{"a.go": "package a\n", "sub/b.go": "package b\r\n"})
				testenv.Equal(t, "its status", runGit(t, to, "status", "--porcelain"), "")
				testenv.Equal(t, "its HEAD", runGit(t, to, "rev-parse", "HEAD"), first)
				testenv.Equal(t, "the status of the user's tree", runGit(t, dir, "status", "--porcelain", "--branch"), before)
				checkFiles(t, dir, map[string]string{"a.go": "not committed"})
			})
		}
	}
}

// TestSubmodules fills submodules, nested ones too, from the user's repository alone.
func TestSubmodules(t *testing.T) {
	inner, _ := newRepository(t, map[string]string{"inner.go": "package inner\n"})
	sub, _ := newRepository(t, map[string]string{"sub.go": "package sub\n"})
	runGit(t, sub, "submodule", "--quiet", "add", "--name", "n", inner, "in/ner")
	commitFiles(t, sub, nil)
	absent, gone := newRepository(t, map[string]string{"absent.go": "package absent\n"})
	dir, _ := newRepository(t, map[string]string{"a.go": "package a\n"})
	runGit(t, dir, "submodule", "--quiet", "add", "--name", "a/name", sub, "third/sub")
	runGit(t, dir, "submodule", "--quiet", "add", absent, "absent")
	runGit(t, dir, "submodule", "--quiet", "update", "--init", "--recursive")
	commit := commitFiles(t, dir, nil)
	runGit(t, dir, "submodule", "--quiet", "deinit", "--force", "absent")
	if err := os.RemoveAll(filepath.Join(dir, ".git", "modules", "absent")); err != nil {
		t.Fatal(err)
	}
	for name, checkOut := range checkoutWays() {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(realPath(t.TempDir()), "tree")
			missing, err := checkOut(open(t, dir), t.Context(), to, commit)
			if err != nil {
				t.Fatal(err)
			}
			testenv.Equal(t, "missing", missing, []Submodule{{"absent", gone}})
			checkFiles(t, to, map[string]string{"third/sub/sub.go": "package sub\n", "third/sub/in/ner/inner.go": "package inner\n"})
			testenv.Equal(t, "its status", runGit(t, to, "status", "--porcelain"), "")
		})
	}
	testenv.Equal(t, "the status of the user's tree", runGit(t, dir, "status", "--porcelain"), "")
}

// TestRunsNothing checks commits out of a repository whose configuration names a program
// wherever git would run one.
func TestRunsNothing(t *testing.T) {
	testenv.SkipOn(t, "windows", "it needs a shell script")
	ran := filepath.Join(t.TempDir(), "ran")
	script := filepath.Join(t.TempDir(), "evil")
	testenv.WriteFile(t, script, "#!/bin/sh\necho \"$0 $@\" >>"+ran+"\ncat\n")
	other, _ := newRepository(t, map[string]string{"x": "x"})
	dir, _ := newRepository(t, map[string]string{".gitattributes": "*.go filter=evil diff=evil\n*.txt filter=process\n", "a.go": "package a\n", "a.txt": "text"})
	runGit(t, dir, "submodule", "--quiet", "add", other, "sub")
	testenv.WriteFile(t, filepath.Join(dir, ".gitmodules"), "[submodule \"sub\"]\n\tpath = sub\n\turl = ext::"+script+"\n\tupdate = !"+script+"\n")
	commit := commitFiles(t, dir, nil)
	hooks := filepath.Join(dir, ".git", "hooks")
	for _, hook := range []string{"post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"} {
		testenv.WriteFile(t, filepath.Join(hooks, hook), "#!/bin/sh\n"+script+"\n")
		if err := errors.Join(os.Chmod(filepath.Join(hooks, hook), 0o755), os.Chmod(script, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][2]string{
		{"core.hooksPath", hooks}, {"core.fsmonitor", script}, {"filter.evil.smudge", script}, {"filter.evil.clean", script}, {"filter.evil.required", "true"},
		{"filter.process.process", script}, {"filter.process.required", "true"}, {"submodule.recurse", "true"}, {"submodule.sub.update", "!" + script},
		{"submodule.sub.url", "ext::" + script}, {"protocol.ext.allow", "always"}, {"core.sshCommand", script}, {"remote.origin.url", "ext::" + script},
		{"hook.evil.command", script}, {"hook.evil.event", "post-checkout"}, {"core.pager", script}, {"alias.worktree", "!" + script},
	} {
		runGit(t, dir, "config", c[0], c[1])
	}
	for name, checkOut := range checkoutWays() {
		to := filepath.Join(realPath(t.TempDir()), "tree")
		if _, err := checkOut(open(t, dir), t.Context(), to, commit); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkFiles(t, to, map[string]string{"a.go": "package a\n", "a.txt": "text", "sub/x": "x"})
		if err := open(t, dir).RemoveWorktree(t.Context(), to); err != nil {
			t.Error(err)
		}
	}
	if text, err := os.ReadFile(ran); err == nil {
		t.Errorf("the repository's program ran:\n%s", text)
	}
}

// TestDisableHooks covers hooks of the configuration, which only newer releases of git
// run.
func TestDisableHooks(t *testing.T) {
	dir, commit := newRepository(t, map[string]string{"a": "a"})
	runGit(t, dir, "config", "hook.My.hook.command", "false")
	got, err := open(t, dir).disableHooks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"-c", "hook.My.hook.enabled=false"}; !reflect.DeepEqual(got, want) {
		t.Errorf("options %q, want %q", got, want)
	}
	runGit(t, dir, "config", "hook.a=b.command", "false")
	to := filepath.Join(t.TempDir(), "tree")
	if _, err := open(t, dir).AddWorktree(t.Context(), to, commit); err == nil || !strings.Contains(err.Error(), `a hook "a=b"`) {
		t.Errorf("error %v, want one that names the hook", err)
	}
}

// TestAddWorktreeFails checks that nothing is left if a worktree cannot be completed, and
// that an existing directory is not touched.
func TestAddWorktreeFails(t *testing.T) {
	dir, commit := newRepository(t, map[string]string{"a.go": "package a\n"})
	r := open(t, dir)
	to := filepath.Join(realPath(t.TempDir()), "tree")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx    context.Context
		commit string
	}{"no such commit": {t.Context(), strings.Repeat("1", 40)}, "cancelled": {cancelled, commit}} {
		if _, err := r.AddWorktree(test.ctx, to, test.commit); err == nil {
			t.Errorf("%s: no error", name)
		}
		checkOneWorktree(t, r, to)
	}
	blob := runGit(t, dir, "rev-parse", "HEAD:a.go")
	if err := os.Remove(filepath.Join(dir, ".git", "objects", blob[:2], blob[2:])); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddWorktree(t.Context(), to, commit); err == nil {
		t.Error("with a missing object: no error")
	}
	checkOneWorktree(t, r, to)

	testenv.WriteFile(t, filepath.Join(to, "mine"), "mine")
	if _, err := r.AddWorktree(t.Context(), to, commit); err == nil {
		t.Error("in an existing directory: no error")
	}
	checkFiles(t, to, map[string]string{"mine": "mine"})
}

// checkOneWorktree checks that the repository has no other worktree than the user's.
func checkOneWorktree(t *testing.T, r *Repository, removed string) {
	t.Helper()
	list, err := r.Worktrees(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Dir != r.Top {
		t.Errorf("worktrees %+v, want only %s", list, r.Top)
	}
	if _, err := os.Lstat(removed); err == nil {
		t.Errorf("%s was left behind", removed)
	}
}

// TestWorktrees lists a complete worktree, and one that was being filled when the process
// was killed.
func TestWorktrees(t *testing.T) {
	dir, commit := newRepository(t, map[string]string{"a.go": "package a\n"})
	r := open(t, dir)
	tmp := realPath(t.TempDir())
	whole, half := filepath.Join(tmp, "whole"), filepath.Join(tmp, "half")
	if _, err := r.AddWorktree(t.Context(), whole, commit); err != nil {
		t.Fatal(err)
	}
	runGit(t, dir, "worktree", "add", "--no-checkout", "--detach", "--lock", "--reason", incomplete, half)
	got, err := open(t, whole).Worktrees(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []Worktree{{dir, commit, false}, {half, commit, true}, {whole, commit, false}}; !reflect.DeepEqual(got, want) {
		t.Errorf("worktrees %+v, want %+v", got, want)
	}
	if err := errors.Join(r.RemoveWorktree(t.Context(), half), r.RemoveWorktree(t.Context(), whole)); err != nil {
		t.Fatal(err)
	}
	checkOneWorktree(t, r, half)
}

func TestOpen(t *testing.T) {
	if _, err := Open(t.Context(), os.Environ(), t.TempDir()); !errors.Is(err, ErrNoRepository) {
		t.Errorf("error %v, want ErrNoRepository", err)
	}
	dir, commit := newRepository(t, map[string]string{"a.go": "package a\n"})
	for commit, want := range map[string]bool{commit: true, strings.Repeat("1", 40): false} {
		has, err := open(t, dir).Has(t.Context(), commit)
		if err != nil || has != want {
			t.Errorf("has %s: %v, %v, want %v", commit, has, err, want)
		}
	}
}
