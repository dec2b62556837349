package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
)

// clockSlack is by how much two clocks, or the times of two file systems, may
// differ without a meaning.
const clockSlack = 2 * time.Second

// evidence is what is known of a file in the workspace and of the target's
// executable.
type evidence struct {
	name          string // of the file, for people
	text          []byte
	modTime       time.Time       // when the file was last written
	lines         api.LinesResult // zero if unknown
	commit        string          // that the target was built from, "" if unknown
	dirty         bool            // with changes that no commit has
	matchesCommit gitAnswer       // whether the file is as in commit
	matchesHEAD   gitAnswer       // whether it is as in HEAD
	lastCommit    time.Time       // of the last commit that changed it; zero if unknown
	target        string
}

// gitAnswer is what git says: yes, no, or nothing.
type gitAnswer struct{ known, yes bool }

// CheckStale implements [bridge.Sources]. It looks at files of the target's main
// module alone: what is in the module cache never changes.
func (s *Files) CheckStale(ctx context.Context, host, node string) string {
	info, err := os.Stat(host)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	b := s.target.Build
	module, err := gosource.Find(filepath.Dir(host))
	if err != nil || b.ModulePath == "" || module.Path != b.ModulePath {
		return ""
	}
	e := evidence{name: host, modTime: info.ModTime(), dirty: b.Settings["vcs.modified"] == "true", target: filepath.Base(s.target.Exe)}
	if name, err := filepath.Rel(module.Root, host); err == nil {
		e.name = name
	}
	if e.text, err = readLimited(host); err != nil {
		return ""
	}
	e.commit = b.Settings["vcs.revision"]
	if e.commit == "" && isReleaseVersion(b.ModuleVersion) {
		e.commit = b.ModuleVersion // its tag
	}
	if e.commit != "" {
		e.matchesCommit = newGitAnswer(gosource.MatchesCommit(ctx, host, e.commit))
	}
	if e.isUnchanged() {
		return ""
	}
	if e.lines, err = s.client.Lines(ctx, s.target, node); err != nil {
		s.log.Debug("what the target has of a source file", "file", node, "error", err)
	}
	if e.isNewer() && !e.matchesCommit.known {
		e.matchesHEAD = newGitAnswer(gosource.MatchesCommit(ctx, host, "HEAD"))
		e.lastCommit, _ = gosource.LastCommitTime(ctx, host)
	}
	return diag.Escape(e.explain())
}

func newGitAnswer(yes bool, err error) gitAnswer { return gitAnswer{known: err == nil, yes: yes} }

// releaseVersion reports whether a module's version is one that has a tag.
func isReleaseVersion(v string) bool { return regexp.MustCompile(`^v\d+\.\d+\.\d+$`).MatchString(v) }

// unchanged reports whether the file is for certain what the target was built
// from.
func (e *evidence) isUnchanged() bool {
	return e.matchesCommit.known && e.matchesCommit.yes && !e.dirty
}

// newer reports whether the file was written after the executable, by the node's
// clock or by ours: the executable may have come with a time from either.
func (e *evidence) isNewer() bool {
	if e.lines.Built.IsZero() {
		return false
	}
	built := e.lines.Built
	if ours := time.Now().Add(-e.lines.Age); ours.After(built) {
		built = ours
	}
	return e.modTime.After(built.Add(clockSlack))
}

// judge says in one line why the file is not what the target was built from, ""
// if nothing says so. What would be said of an unchanged tree too is no reason:
// a fresh clone is newer than the executable, and a comment has no code.
func (e *evidence) explain() string {
	const remedy = "run what you have (dapbridge deploy)"
	from := ""
	if e.commit != "" {
		from = fmt.Sprintf(" (commit %.12s)", e.commit)
		if e.dirty {
			from = fmt.Sprintf(" (commit %.12s with changes)", e.commit)
		}
	}
	switch line := e.findStrayLine(); {
	case e.isUnchanged():
		return ""
	case e.matchesCommit.known && !e.matchesCommit.yes && !e.dirty:
		return fmt.Sprintf("%s is not what %s was built from%s: %s, or check out that commit", e.name, e.target, from, remedy)
	case line > 0:
		return fmt.Sprintf("%s is not what %s was built from%s, which has code at line %d where the file has none: %s", e.name, e.target, from, line, remedy)
	case e.isNewer() && !e.isCheckedOut():
		return fmt.Sprintf("%s has changed since %s was built%s: %s", e.name, e.target, from, remedy)
	}
	return ""
}

// explained reports whether git says that the file is newer for another reason
// than a change: it was checked out later.
func (e *evidence) isCheckedOut() bool {
	if e.matchesCommit.known {
		return e.matchesCommit.yes
	}
	return e.matchesHEAD.known && e.matchesHEAD.yes && !e.lastCommit.IsZero() && e.lastCommit.Before(e.lines.Built)
}

// strayLine returns a line that the target has code of though the file has
// nothing there but white space or a comment; 0 if there is none.
func (e *evidence) findStrayLine() int {
	code, ok := gosource.CodeLines(e.text)
	if !ok || filepath.Ext(e.name) != ".go" {
		return 0
	}
	for _, line := range e.lines.Lines {
		if line > 0 && !code[line] {
			return line
		}
	}
	return 0
}
