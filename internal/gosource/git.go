package gosource

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNotInGit says that git can't tell what a file was: there is no git, no
// repository, no such commit, or the commit does not have the file.
var ErrNotInGit = errors.New("git does not know")

// SameAsCommit reports whether a file is now as it was in a commit of the
// repository that it stands in; a difference in nothing but carriage returns is
// none. Its error is ErrNotInGit. The file itself is not shown to git, which would
// run the filters of a repository that nobody has looked at.
func MatchesCommit(ctx context.Context, file, commit string) (bool, error) {
	id, err := blobID(ctx, file, commit)
	if err != nil {
		return false, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrNotInGit, err)
	}
	return isBlob(text, id) || isBlob(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), id), nil
}

// blobID returns the name of a file's content in a commit: its number, a release's
// tag, or HEAD.
func blobID(ctx context.Context, file, commit string) (string, error) {
	if !regexp.MustCompile(`^([0-9a-f]{7,64}|v\d+\.\d+\.\d+|HEAD)$`).MatchString(commit) {
		return "", fmt.Errorf("%w: %q is no commit", ErrNotInGit, commit)
	}
	out, err := git(ctx, file, "ls-tree", "-z", commit+"^{commit}", "--", filepath.Base(file))
	if err != nil {
		return "", err
	}
	// "100644 blob ID\tNAME"; a symbolic link's mode is another.
	entry, _, _ := strings.Cut(out, "\t")
	if f := strings.Fields(entry); len(f) == 3 && strings.HasPrefix(f[0], "100") && f[1] == "blob" {
		return f[2], nil
	}
	return "", fmt.Errorf("%w: %s is not in %s", ErrNotInGit, file, commit)
}

// isBlob reports whether text has the name id (gitformat-loose, "blob SIZE\0").
func isBlob(text []byte, id string) bool {
	var h hash.Hash = sha1.New()
	if len(id) == 2*sha256.Size {
		h = sha256.New()
	}
	fmt.Fprintf(h, "blob %d\x00", len(text))
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil)) == id
}

// LastCommit returns when the last commit up to HEAD that changed a file was
// made. Its error is ErrNotInGit.
func LastCommitTime(ctx context.Context, file string) (time.Time, error) {
	out, err := git(ctx, file, "log", "-1", "--no-show-signature", "--format=%ct", "HEAD", "--", filepath.Base(file))
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %s is in no commit", ErrNotInGit, file)
	}
	return time.Unix(seconds, 0), nil
}

// gitTimeout bounds one command of git.
const gitTimeout = 5 * time.Second

// git runs git in a file's directory, which may belong to a repository that wants
// to run something: no hook, no watcher, no transport, no lock, no pager.
func git(ctx context.Context, file string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{
		"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "log.showSignature=false",
		"-c", "protocol.allow=never", "--no-pager", "--literal-pathspecs",
	}, args...)...)
	cmd.Dir = filepath.Dir(file)
	// What a git that we run under has set is of another repository.
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	cmd.Env = append(cmd.Env, "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: git %s: %w", ErrNotInGit, args[0], err)
	}
	return string(out), nil
}
