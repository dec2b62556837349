package source

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/host/link"
)

// Files implements [bridge.SourceFiles]. It reads the host's own files, and the node's files
// over the link.
type Files struct {
	client    *link.Client
	log       *slog.Logger
	target    api.Target
	downloads *Downloads
	dir       string // for copies of the node's files; "" for none

	keptBytes atomic.Int64 // of files, in this session
	pruneOnce sync.Once    // of other executables' directories
}

// maxSourceSize bounds a source file on the host, in bytes. The agent has a limit of its
// own.
const maxSourceSize = 16 << 20

// How many bytes of source one session keeps, and for how long a directory is kept after
// the last session that used it.
const (
	maxKeptBytes = 256 << 20
	maxKeptAge   = 30 * 24 * time.Hour
)

// NewFiles returns the source files of a target. Read waits for a module that is being
// downloaded.
func (c Config) NewFiles(l *link.Client, downloads *Downloads, t api.Target) *Files {
	s := &Files{client: l, log: c.Log, downloads: downloads, target: t}
	if c.CacheDir != "" {
		// One directory per executable, since the same names may have other contents in others.
		sum := sha256.Sum256([]byte(t.Exe + "\x00" + t.Build.BuildID))
		s.dir = filepath.Join(c.CacheDir, "sources", hex.EncodeToString(sum[:8]))
	}
	return s
}

// IsOnHost implements [bridge.SourceFiles]. A path that begins with two separators may name
// a server that the node chose. It is reported as present without being opened, since
// Windows would send the user's credentials to that server.
func (s *Files) IsOnHost(host string) bool {
	if len(host) > 1 && strings.ContainsRune(`/\`, rune(host[0])) && strings.ContainsRune(`/\`, rune(host[1])) {
		return true
	}
	info, err := os.Stat(host)
	return err == nil && info.Mode().IsRegular()
}

// Read implements [bridge.SourceFiles].
func (s *Files) Read(ctx context.Context, host, node string) ([]byte, error) {
	s.downloads.waitFor(ctx, host)
	if s.IsOnHost(host) { // it was downloaded in the meantime
		return readLimited(host)
	}
	return s.client.Source(ctx, s.target, node)
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSourceSize+1))
	if err == nil && len(text) > maxSourceSize {
		err = fmt.Errorf("%s has more than %d bytes", file, maxSourceSize)
	}
	return text, err
}

// KeepDir implements [bridge.SourceFiles].
func (s *Files) KeepDir() string { return s.dir }

// Keep implements [bridge.SourceFiles]. Each session reads the file again, since the node's may
// have changed, and writes it again if it has.
func (s *Files) Keep(ctx context.Context, host, node string) (string, error) {
	name := bridge.KeepPath(node)
	local, err := filepath.Localize(name)
	if err != nil || path.Clean(name) != name {
		return "", fmt.Errorf("%q cannot be kept on this machine", node)
	}
	text, err := s.Read(ctx, host, node)
	if err != nil {
		return "", err
	}
	if s.keptBytes.Add(int64(len(text))) > maxKeptBytes {
		return "", fmt.Errorf("keep %s: more than %d bytes of source", node, maxKeptBytes)
	}
	s.pruneOnce.Do(func() { prune(filepath.Dir(s.dir), time.Now().Add(-maxKeptAge)) })
	if err := writeKept(s.dir, local, text); err != nil {
		return "", fmt.Errorf("keep %s: %w", node, err)
	}
	return filepath.Join(s.dir, local), nil
}

// writeKept atomically writes a file below dir, which only this user can read. A name or
// symbolic link that leads out of dir is an error.
func writeKept(dir, name string, text []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil { // for prune
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if old, err := root.ReadFile(name); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	part := name + "." + rand.Text() + ".part"
	if err := root.WriteFile(part, text, 0o600); err != nil {
		return errors.Join(err, root.Remove(part))
	}
	// Read-only, so that an editor shows that it is a copy.
	err = root.Chmod(part, 0o400)
	if err == nil {
		err = renameOver(root, part, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(part))
	}
	return nil
}

// prune removes the directories below parent that no session has used since the given
// time. The next session retries what cannot be removed.
func prune(parent string, since time.Time) {
	dirs, _ := os.ReadDir(parent)
	for _, d := range dirs {
		if info, err := d.Info(); err == nil && d.IsDir() && info.ModTime().Before(since) {
			os.RemoveAll(filepath.Join(parent, d.Name()))
		}
	}
}

// renameOver renames a file, replacing one that may be read-only, which Windows refuses.
func renameOver(root *os.Root, from, to string) error {
	err := root.Rename(from, to)
	if !errors.Is(err, fs.ErrPermission) || root.Chmod(to, 0o600) != nil {
		return err
	}
	return root.Rename(from, to)
}
