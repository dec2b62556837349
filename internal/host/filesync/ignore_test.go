package filesync_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestIgnore tests what TestIgnoreAsGit cannot compare with git: what is always left
// out, .dapbridgeignore, and trees that are part of a repository.
func TestIgnore(t *testing.T) {
	for _, tt := range []struct {
		name    string
		files   map[string]string
		start   string   // the directory that is copied
		ignored []string // with a slash behind a directory
		copied  []string
	}{
		{
			name:    "always",
			files:   map[string]string{".gitignore": "!.git\n!*~\n!*.swp\n", ".dapbridgeignore": "!.git\n!a~\n"},
			ignored: []string{".git/", ".git", "a/.git", "a~", ".a.go.swp", ".swp", ".a.swo", "4913", "5036", "a.go___jb_tmp___", "a.go___jb_old___", "a.go.vsctmp", ".#a.go", "#a.go#", ".goutputstream-X1Y2", ".dapbridge-tmp-1"},
			copied:  []string{".github/", ".gitignore", "4914", "04913", "~", "#", "##", "a.swp", ".a.swift", "6143", "a.tmp"},
		},
		{
			name:    "dapbridgeignore comes first",
			files:   map[string]string{".git/HEAD": "", ".gitignore": "*.log\n/build/\n", ".dapbridgeignore": "!keep.log\n!/build/\n*.big\n", "a/.gitignore": "!*.big\nkeep.log\n", "a/.dapbridgeignore": "x.log\n"},
			ignored: []string{"a.log", "b.big", "a/b.big", "a/x.log"},
			copied:  []string{"keep.log", "a/keep.log", "build/", "build/x"},
		},
		{
			name:    "part of a repository",
			files:   map[string]string{".git/HEAD": "", ".git/info/exclude": "*.ex\n", ".gitignore": "/top/*.o\n*.a\n/top/sub\n", "top/sub/.gitignore": "!x.a\n"},
			start:   "top/sub",
			ignored: []string{"y.a", "a.ex"},
			copied:  []string{"x.a", "x.o"},
		},
		{
			name:    "linked worktree",
			files:   map[string]string{"repo/.git/info/exclude": "*.ex\n", "repo/.git/worktrees/w/commondir": "../..\n", "w/.git": "gitdir: ../repo/.git/worktrees/w\n"},
			start:   "w",
			ignored: []string{"a.ex"},
			copied:  []string{"a.c"},
		},
		{
			name:    "no repository",
			files:   map[string]string{".gitignore": "*.a\n", "w/.gitignore": "*.b\n"},
			start:   "w",
			ignored: []string{"x.b"},
			copied:  []string{"x.a"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				testenv.WriteFile(t, filepath.Join(dir, name), text)
			}
			ig, err := filesync.LoadIgnore(filepath.Join(dir, tt.start))
			if err != nil {
				t.Fatal(err)
			}
			for want, paths := range map[bool][]string{true: tt.ignored, false: tt.copied} {
				for _, p := range paths {
					if got := ignored(t, ig, p); got != want {
						t.Errorf("%s: ignored %v, want %v", p, got, want)
					}
				}
			}
		})
	}
}

// TestUnreadableRulesAreAnError matters because otherwise something secret could be
// copied.
func TestUnreadableRulesAreAnError(t *testing.T) {
	dir := t.TempDir()
	testenv.WriteFile(t, filepath.Join(dir, ".gitignore"), strings.Repeat("a\n", 1<<20))
	if _, err := filesync.LoadIgnore(dir); err == nil || !strings.Contains(err.Error(), "1048576 bytes") {
		t.Errorf("got %v, want an error that names the limit", err)
	}
}

// TestHostilePatternsMatchFast uses patterns for which a backtracking matcher needs
// exponential time.
func TestHostilePatternsMatchFast(t *testing.T) {
	dir := t.TempDir()
	testenv.WriteFile(t, filepath.Join(dir, ".gitignore"), "/"+strings.Repeat("**/a*", 40)+"/b\n"+strings.Repeat("*a", 100)+"b\n")
	ig, err := filesync.LoadIgnore(dir)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if ig.Match(strings.Repeat("a", 250), false) {
		t.Error("a name without b matches a pattern that ends in b")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// ignored reports whether the rules leave out p, or a directory above it. A trailing
// slash says that p is a directory.
func ignored(t testing.TB, ig *filesync.Ignore, p string) bool {
	t.Helper()
	p, isDir := strings.CutSuffix(p, "/")
	for {
		name, below, more := strings.Cut(p, "/")
		if ig.Match(name, isDir || more) {
			return true
		}
		if !more {
			return false
		}
		var err error
		if ig, err = ig.Enter(name); err != nil {
			t.Fatal(err)
		}
		p = below
	}
}
