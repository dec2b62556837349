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

// clockSlack is the difference between two clocks, or between the times of two file
// systems, that is taken as equal.
const clockSlack = 2 * time.Second

// evidence is what is known about whether the target was built from a file of the
// workspace.
type evidence struct {
	name          string          // of the file, for messages
	text          []byte          // of the file
	modTime       time.Time       // when the file was last written
	lines         api.LinesResult // what the target has of the file; zero if unknown
	commit        string          // that the target was built from, "" if unknown
	dirty         bool            // built with uncommitted changes
	matchesCommit gitAnswer       // whether the file is the same in commit
	matchesHEAD   gitAnswer       // whether it is the same in HEAD
	lastCommit    time.Time       // time of the last commit that changed it; zero if unknown
	target        string          // name of the executable
}

// gitAnswer is git's answer to a question; known is false if git could not tell.
type gitAnswer struct{ known, yes bool }

// CheckStale implements [bridge.SourceFiles]. It checks only files of the target's main module,
// since files in the module cache never change.
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
		s.log.Debug("cannot read the lines of a source file from the target", "file", node, "error", err)
	}
	if e.isNewer() && !e.matchesCommit.known {
		e.matchesHEAD = newGitAnswer(gosource.MatchesCommit(ctx, host, "HEAD"))
		e.lastCommit, _ = gosource.LastCommitTime(ctx, host)
	}
	return diag.Escape(e.explain())
}

func newGitAnswer(yes bool, err error) gitAnswer { return gitAnswer{known: err == nil, yes: yes} }

// isReleaseVersion reports whether a module's version is the name of a tag.
func isReleaseVersion(v string) bool { return regexp.MustCompile(`^v\d+\.\d+\.\d+$`).MatchString(v) }

// isUnchanged reports whether the target was certainly built from the file.
func (e *evidence) isUnchanged() bool {
	return e.matchesCommit.known && e.matchesCommit.yes && !e.dirty
}

// isNewer reports whether the file was written after the executable, by the node's clock
// and by the host's: the executable's time may come from either.
func (e *evidence) isNewer() bool {
	if e.lines.Built.IsZero() {
		return false
	}
	built := e.lines.Built
	if byHost := time.Now().Add(-e.lines.Age); byHost.After(built) {
		built = byHost
	}
	return e.modTime.After(built.Add(clockSlack))
}

// explain returns a line that says why the file is not what the target was built from, or
// "" if there is no evidence for that. It must stay silent about an unchanged tree: there,
// too, a fresh clone is newer than the executable.
func (e *evidence) explain() string {
	from, remedy := "", "run what you have (dapbridge deploy)"
	if e.commit != "" && !e.dirty {
		remedy = "get that source (dapbridge source), or " + remedy
	}
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
		return fmt.Sprintf("%s is not what %s was built from%s: %s", e.name, e.target, from, remedy)
	case line > 0:
		return fmt.Sprintf("%s is not what %s was built from%s, which has code at line %d where the file has none: %s", e.name, e.target, from, line, remedy)
	case e.isNewer() && !e.isCheckedOut():
		return fmt.Sprintf("%s has changed since %s was built%s: %s", e.name, e.target, from, remedy)
	}
	return ""
}

// isCheckedOut reports whether, according to git, the file is newer only because it was
// checked out later.
func (e *evidence) isCheckedOut() bool {
	if e.matchesCommit.known {
		return e.matchesCommit.yes
	}
	return e.matchesHEAD.known && e.matchesHEAD.yes && !e.lastCommit.IsZero() && e.lastCommit.Before(e.lines.Built)
}

// findStrayLine returns a line for which the target has code, but where the file has only
// white space or a comment; 0 if there is none.
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
