package gosource

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// newRepository makes a git repository with a commit of sub/a.go and returns its
// directory.
func newRepository(t *testing.T, initArgs ...string) string {
	t.Helper()
	testenv.NeedsTool(t, "git")
	dir := t.TempDir()
	runGit(t, dir, append([]string{"init", "-q"}, initArgs...)...)
	testenv.WriteFile(t, filepath.Join(dir, "sub", "a.go"), "package a\n")
	runGit(t, dir, "add", ".")
	runGit(t, dir, "commit", "-qm", "one")
	return dir
}

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_COMMITTER_DATE=2025-01-02T03:04:05Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestMatchesCommit(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		dir := newRepository(t, "--object-format="+format)
		file := filepath.Join(dir, "sub", "a.go")
		commit := runGit(t, dir, "rev-parse", "HEAD")
		runGit(t, dir, "tag", "v1.2.3")
		for _, c := range []struct {
			text string
			same bool
		}{{"package a\n", true}, {"package a\r\n", true}, {"package b\n", false}, {"", false}} {
			testenv.WriteFile(t, file, c.text)
			for _, of := range []string{commit, commit[:12], "v1.2.3", "HEAD"} {
				same, err := MatchesCommit(t.Context(), file, of)
				if err != nil {
					t.Errorf("%q, %s: %v", c.text, of, err)
				}
				if same != c.same {
					t.Errorf("%q matches %s: %v, want %v", c.text, of, same, c.same)
				}
			}
		}
		testenv.WriteFile(t, filepath.Join(dir, "sub", "new.go"), "")
		if err := os.Symlink("a.go", filepath.Join(dir, "link.go")); err == nil {
			runGit(t, dir, "add", "link.go")
			runGit(t, dir, "commit", "-qm", "link")
		}
		outside := filepath.Join(t.TempDir(), "a.go")
		testenv.WriteFile(t, outside, "")
		for name, ask := range map[string][2]string{
			"untracked":           {filepath.Join(dir, "sub", "new.go"), "HEAD"},
			"a link":              {filepath.Join(dir, "link.go"), "HEAD"},
			"no file":             {filepath.Join(dir, "sub", "none.go"), "HEAD"},
			"no directory":        {filepath.Join(dir, "none", "a.go"), "HEAD"},
			"no repository":       {outside, "HEAD"},
			"another commit":      {file, strings.Repeat("0", 40)},
			"no tag":              {file, "v9.9.9"},
			"an option":           {file, "--help"},
			"another revision":    {file, "HEAD~0"},
			"the empty commit":    {file, ""},
			"a wildcard in names": {filepath.Join(dir, "sub", "*.go"), "HEAD"},
		} {
			if _, err := MatchesCommit(t.Context(), ask[0], ask[1]); !errors.Is(err, ErrNotInGit) {
				t.Errorf("%s: error %v, want ErrNotInGit", name, err)
			}
		}
	}
}

func TestLastCommitTime(t *testing.T) {
	dir := newRepository(t)
	got, err := LastCommitTime(t.Context(), filepath.Join(dir, "sub", "a.go"))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	testenv.WriteFile(t, filepath.Join(dir, "sub", "new.go"), "")
	if _, err := LastCommitTime(t.Context(), filepath.Join(dir, "sub", "new.go")); !errors.Is(err, ErrNotInGit) {
		t.Errorf("untracked file: error %v, want ErrNotInGit", err)
	}
}

// TestGitRunsNothing inspects a repository whose configuration names a program
// wherever git would run one.
func TestGitRunsNothing(t *testing.T) {
	dir := newRepository(t)
	ran := filepath.Join(t.TempDir(), "ran")
	script := filepath.Join(t.TempDir(), "evil")
	testenv.WriteFile(t, script, "#!/bin/sh\ntouch "+ran+"\ncat\n")
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	testenv.WriteFile(t, filepath.Join(dir, ".gitattributes"), "*.go filter=evil diff=evil\n")
	for _, c := range [][2]string{
		{"core.fsmonitor", script}, {"filter.evil.clean", script}, {"filter.evil.smudge", script}, {"diff.evil.textconv", script},
		{"diff.external", script}, {"core.pager", script}, {"pager.log", script}, {"log.showSignature", "true"}, {"gpg.program", script},
		{"core.sshCommand", script}, {"remote.origin.url", "ext::" + script}, {"remote.origin.promisor", "true"}, {"extensions.partialClone", "origin"},
	} {
		runGit(t, dir, "config", c[0], c[1])
	}
	file := filepath.Join(dir, "sub", "a.go")
	testenv.WriteFile(t, file, "package b\n")
	same, err := MatchesCommit(t.Context(), file, "HEAD")
	if err != nil {
		t.Error(err)
	}
	if same {
		t.Error("a changed file matches HEAD")
	}
	if _, err := LastCommitTime(t.Context(), file); err != nil {
		t.Error(err)
	}
	// git must not fetch the objects that a partial clone lacks either.
	if _, err := MatchesCommit(t.Context(), file, strings.Repeat("1", 40)); !errors.Is(err, ErrNotInGit) {
		t.Errorf("missing commit: error %v, want ErrNotInGit", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the repository's program ran")
	}
}

func TestCodeLines(t *testing.T) {
	const text = "// Package a.\npackage a\n\n/* b\n\n*/ var c = `\n\n`\n\nfunc d() {\n\te() // f\n\n}\n"
	lines, ok := CodeLines([]byte(text))
	if !ok {
		t.Error("the lines of a plain file are not known")
	}
	got := slices.Sorted(maps.Keys(lines))
	if want := []int{2, 6, 7, 8, 10, 11, 13}; !slices.Equal(got, want) {
		t.Errorf("lines %v, want %v", got, want)
	}
	for _, text := range []string{"package a\n//line x.y:1\n", "package a\n/*line x.y:1*/ var b int", "package a\nimport \"C\"\n", "package a\nvar b = \"\n", "\x00"} {
		if _, ok := CodeLines([]byte(text)); ok {
			t.Errorf("the lines of %q are known", text)
		}
	}
}
