package filesync_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestIgnoreAsGit compares with git for random trees with random rules.
func TestIgnoreAsGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		testenv.Skipf(t, "needs git")
	}
	trees := testenv.Rounds(t, 200)
	paths, left, decided := 0, 0, 0
	for seed := range uint64(trees) {
		w := &randomTree{Rand: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir()}
		w.generate(t)
		ig, err := filesync.LoadIgnore(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		want := checkIgnore(t, git, w.dir, w.paths)
		differ := false
		for _, p := range w.paths {
			got := ignored(t, ig, p)
			if got != want[strings.TrimSuffix(p, "/")] {
				t.Errorf("tree %d: %q: ignored %v, with git %v", seed, p, got, !got)
				differ = true
			}
			if got {
				left++
			}
		}
		if differ {
			t.Fatalf("rules: %q", w.rules)
		}
		paths += len(w.paths)
		if len(want) > 0 && len(want) < len(w.paths) {
			decided++
		}
		os.RemoveAll(w.dir) // so that the disk holds one tree at a time
	}
	t.Logf("%d trees of %d paths, %d of them ignored", trees, paths, left)
	if decided < trees/2 {
		t.Errorf("the rules distinguish paths in only %d of %d trees", decided, trees)
	}
}

// checkIgnore returns those of the paths that git ignores. Git finds out by itself which
// are directories: a trailing slash would make it look inside.
func checkIgnore(t testing.TB, git, dir string, paths []string) map[string]bool {
	t.Helper()
	cmd := exec.Command(git, "-c", "core.excludesFile=", "check-ignore", "--no-index", "-z", "--stdin")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CEILING_DIRECTORIES=" + filepath.Dir(dir)}
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(strings.Join(paths, "\x00")+"\x00", "/\x00", "\x00"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: none is ignored
		t.Fatalf("git check-ignore: %v: %s", err, stderr.String())
	}
	all := map[string]bool{}
	for p := range strings.SplitSeq(string(out), "\x00") {
		if p != "" {
			all[p] = true
		}
	}
	return all
}

// randomTree is a random tree with rules.
type randomTree struct {
	*rand.Rand
	dir   string
	paths []string // a directory's with a trailing slash
	rules []string
}

func (w *randomTree) generate(t testing.TB) {
	testenv.WriteFile(t, filepath.Join(w.dir, ".git", "HEAD"), "ref: refs/heads/main\n")
	for _, dir := range []string{"objects", "refs"} {
		if err := os.MkdirAll(filepath.Join(w.dir, ".git", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dirs := []string{""}
	for range 5 + w.IntN(25) {
		p := path.Join(dirs[w.IntN(len(dirs))], w.name())
		if slices.Contains(w.paths, p) || slices.Contains(w.paths, p+"/") {
			continue
		}
		if w.IntN(2) == 0 {
			if err := os.MkdirAll(filepath.Join(w.dir, p), 0o755); err != nil {
				t.Fatal(err)
			}
			dirs = append(dirs, p)
			w.paths = append(w.paths, p+"/")
		} else {
			testenv.WriteFile(t, filepath.Join(w.dir, p), "")
			w.paths = append(w.paths, p)
		}
	}
	places := []string{".git/info/exclude", ".gitignore"}
	for _, d := range dirs[1:] {
		if w.IntN(3) == 0 {
			places = append(places, d+"/.gitignore")
		}
	}
	for _, place := range places {
		text := w.file()
		w.rules = append(w.rules, place+": "+text)
		testenv.WriteFile(t, filepath.Join(w.dir, place), text)
	}
}

func (w *randomTree) pick(of ...string) string { return of[w.IntN(len(of))] }

func (w *randomTree) name() string {
	return w.pick("a", "b", "ab", "abc", "foo", "bar", "foo.log", "a.log", "foobar", "x y", "a ", " a", "#h", "!n", "[a]", "[", "]", "-", "^", "\\", "a\\", "ä", "A", "*", "?", "a*", "a-b", "aa", "0", "_", "\t", "a\r")
}

// file returns the text of a file of rules.
func (w *randomTree) file() string {
	var lines []string
	for range w.IntN(7) {
		lines = append(lines, w.line())
	}
	return w.pick("", "", "", "", "\ufeff") + strings.Join(lines, w.pick("\n", "\n", "\n", "\r\n")) + w.pick("\n", "")
}

func (w *randomTree) line() string {
	if w.IntN(20) == 0 {
		return w.pick("", "#a", "!", "/", "//", "\\", "!#", "**", "***", "/**", "**/", "**/**", "!*", "!*/", "/*", "\\#h", "\\!n", "*/*", " ", "\\ ", "a\\ ", "a \\ ", "[", "a[", "[]", "[]]", "[!]", "foo**/bar", "*\\", "/a//b", "**a", "a**")
	}
	if len(w.paths) > 0 && w.IntN(2) == 0 {
		return w.aim(strings.Split(strings.TrimSuffix(w.pick(w.paths...), "/"), "/"))
	}
	var b strings.Builder
	b.WriteString(w.pick("", "", "", "!", "/", "!/", "**/", "\\"))
	for i := range 1 + w.IntN(3) {
		if i > 0 {
			b.WriteString(w.pick("/", "/", "/**/", "/*/", "**/", "/**", "\\/"))
		}
		for range 1 + w.IntN(2) {
			b.WriteString(w.atom())
		}
	}
	b.WriteString(w.pick("", "", "", "/", "/", "/**", "/*", " ", "  ", "\\ ", "\t", "*"))
	return b.String()
}

// aim returns a rule that may match the path of these names.
func (w *randomTree) aim(names []string) string {
	from := w.IntN(len(names))
	names = slices.Clone(names[from:])
	for i, name := range names {
		switch w.IntN(6) {
		case 0:
			names[i] = "*"
		case 1:
			names[i] = "**"
		case 2:
			names[i] = name[:1] + "*"
		case 3:
			names[i] = "?" + name[1:]
		}
	}
	return w.pick("", "", "!", "!") + w.pick("", "", "/", "**/") + strings.Join(names, "/") + w.pick("", "", "", "/", "/*", "/**", " ")
}

func (w *randomTree) atom() string {
	switch w.IntN(10) {
	case 0, 1, 2, 3:
		return w.name()
	case 4:
		return w.pick("*", "*", "**", "*.log", "a*", "*a", "?", "??", "***")
	case 5:
		return w.pick("f*", "*o*", "b?r", "*.*", "fo[o]", "f??", "*bar")
	case 6:
		return fmt.Sprintf("[%s%s]", w.pick("", "", "!", "^"), w.pick("ab", "a-c", "]", "]a", "-", "a-", "-a", "!", "^", "\\]", "\\a-c", "a-\\c", "c-a", "[:alpha:]", "[:digit:]a", "[:upper:][:punct:]", "[:space:]", "[:nosuch:]", "[:alpha", "[:]", "[a", "/", "a/b", "\\", "[:xdigit:]-z", "[:cntrl:]", "[:blank:]", "[:graph:]", "[:print:]", "[:lower:]", "[:alnum:]"))
	case 7:
		return "\\" + w.pick("a", "*", "?", "[", "]", "\\", " ", "#", "!", "b", "-")
	}
	return w.pick("a", "b", "foo", "bar", "ab")
}
