package source

import (
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestExplainStale(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	now := time.Now()
	built := func(ago time.Duration, lines ...int) api.LinesResult {
		return api.LinesResult{Built: now.Add(-ago), Age: ago, Lines: lines}
	}
	yes, no := gitAnswer{true, true}, gitAnswer{true, false}
	for _, tt := range []struct {
		name string
		e    evidence
		want string // part of it; "" for no evidence
	}{
		{"as committed", evidence{commit: commit, matchesCommit: yes, modTime: now, lines: built(time.Hour, 2)}, ""},
		{"another commit", evidence{commit: commit, matchesCommit: no, lines: built(time.Hour)}, "a.go is not what x was built from (commit 0123456789ab): get that source (dapbridge source), or run what you have (dapbridge deploy)"},
		{"another release", evidence{commit: "v1.2.3", matchesCommit: no}, "built from (commit v1.2.3)"},
		{"built with changes, untouched since", evidence{commit: commit, dirty: true, matchesCommit: no, modTime: now.Add(-2 * time.Hour), lines: built(time.Hour, 1)}, ""},
		{"built with changes, changed since", evidence{commit: commit, dirty: true, matchesCommit: no, modTime: now, lines: built(time.Hour)}, "a.go has changed since x was built (commit 0123456789ab with changes): run what you have (dapbridge deploy)"},
		{"built with changes elsewhere, checked out again", evidence{commit: commit, dirty: true, matchesCommit: yes, modTime: now, lines: built(time.Hour)}, ""},
		{"a fresh clone of what was built without stamps", evidence{matchesHEAD: yes, lastCommit: now.Add(-2 * time.Hour), modTime: now, lines: built(time.Hour, 1, 3)}, ""},
		{"committed after the build", evidence{matchesHEAD: yes, lastCommit: now, modTime: now, lines: built(time.Hour)}, "a.go has changed since x was built: "},
		{"changed after the build, uncommitted", evidence{matchesHEAD: no, lastCommit: now.Add(-2 * time.Hour), modTime: now, lines: built(time.Hour)}, "a.go has changed since x was built: "},
		{"no git, older", evidence{modTime: now.Add(-2 * time.Hour), lines: built(time.Hour, 1, 3)}, ""},
		{"no git, newer", evidence{modTime: now, lines: built(time.Hour)}, "a.go has changed since x was built: "},
		{"no git, a moment newer", evidence{modTime: now, lines: built(time.Second)}, ""},
		{"nothing known", evidence{modTime: now}, ""},
		{"the node's clock is behind", evidence{modTime: now.Add(-30 * time.Minute), lines: api.LinesResult{Built: now.Add(-time.Hour), Age: time.Minute}}, ""},
		{"the executable's time came from the host, and the node's clock is ahead", evidence{modTime: now.Add(-2 * time.Hour), lines: api.LinesResult{Built: now.Add(-time.Hour), Age: 3 * time.Hour}}, ""},
		{"code where the file has a comment", evidence{modTime: now.Add(-2 * time.Hour), lines: built(time.Hour, 1, 2)}, "which has code at line 2 where the file has none"},
		{"code after the file's end", evidence{modTime: now.Add(-2 * time.Hour), lines: built(time.Hour, 1, 3, 4)}, "which has code at line 4 where"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.e.name, tt.e.target, tt.e.text = "a.go", "x", []byte("package a\n// b\nvar c = 1\n")
			got := tt.e.explain()
			if tt.want == "" && got != "" {
				t.Errorf("got %q, want nothing", got)
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want …%s…", got, tt.want)
			}
		})
	}
}

// TestUnchangedSourceHasNoStrayLine checks the source of the test program itself, which
// an optimising compiler has built. It checks every thirtieth file, since each one
// requires reading the whole function table.
func TestUnchangedSourceHasNoStrayLine(t *testing.T) {
	testenv.NeedsLinux(t, "it needs /proc")
	sources, err := procfs.InspectExe(os.Getpid(), (*exe.File).Sources)
	if err != nil {
		t.Fatal(err)
	}
	found, checked := 0, 0
	for _, d := range sources.Dirs {
		for _, name := range d.Files {
			file := path.Join(d.Dir, name)
			text, err := os.ReadFile(file)
			if err != nil || path.Ext(name) != ".go" {
				continue // generated, or of this test's own main package
			}
			if found++; found%30 != 0 {
				continue
			}
			lines, err := procfs.InspectExe(os.Getpid(), func(x *exe.File) ([]int, error) { return x.Lines(file) })
			if err != nil {
				t.Fatal(err)
			}
			e := evidence{name: file, text: text, lines: api.LinesResult{Lines: lines}}
			if line := e.findStrayLine(); line > 0 {
				t.Errorf("%s has no code at line %d", file, line)
			}
			checked++
		}
	}
	if checked < 20 {
		t.Errorf("checked %d of %d files, want at least 20", checked, found)
	}
}
