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
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/gitrepo"
)

// ErrNotInGit means that git cannot say what a file's content was: there is no git,
// no repository or no such commit, or the commit does not contain the file.
var ErrNotInGit = errors.New("unknown to git")

// MatchesCommit reports whether a file has the same content as in a commit of its
// repository, apart from carriage returns. Its error is ErrNotInGit. git does not read
// the file itself, because it would run the filters that an untrusted repository
// configures.
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

// blobID returns the object name of a file's content in a commit, which is given by
// its hash, a release tag or HEAD.
func blobID(ctx context.Context, file, commit string) (string, error) {
	if !regexp.MustCompile(`^([0-9a-f]{7,64}|v\d+\.\d+\.\d+|HEAD)$`).MatchString(commit) {
		return "", fmt.Errorf("%w: %q does not name a commit", ErrNotInGit, commit)
	}
	out, err := git(ctx, file, "ls-tree", "-z", commit+"^{commit}", "--", filepath.Base(file))
	if err != nil {
		return "", err
	}
	// "100644 blob ID\tNAME"; the mode of a symbolic link is 120000.
	entry, _, _ := strings.Cut(out, "\t")
	if f := strings.Fields(entry); len(f) == 3 && strings.HasPrefix(f[0], "100") && f[1] == "blob" {
		return f[2], nil
	}
	return "", fmt.Errorf("%w: %s is not in %s", ErrNotInGit, file, commit)
}

// isBlob reports whether id is the object name of text (gitformat-loose,
// "blob SIZE\0").
func isBlob(text []byte, id string) bool {
	var h hash.Hash = sha1.New()
	if len(id) == 2*sha256.Size {
		h = sha256.New()
	}
	fmt.Fprintf(h, "blob %d\x00", len(text))
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil)) == id
}

// LastCommitTime returns the commit time of the last commit up to HEAD that changed
// a file. Its error is ErrNotInGit.
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

// gitTimeout bounds one git command.
const gitTimeout = 5 * time.Second

// git runs git in a file's directory. Its error is ErrNotInGit.
func git(ctx context.Context, file string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	out, err := gitrepo.Run(ctx, nil, filepath.Dir(file), args...)
	if err != nil {
		return "", fmt.Errorf("%w: git %s: %w", ErrNotInGit, args[0], err)
	}
	return out, nil
}
