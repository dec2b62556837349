package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Limits on the kept builds, across all workspaces and programs.
const (
	maxKeptBuilds = 6
	maxKeptBytes  = 1 << 30
)

func (b *Builder) keptDir() string { return filepath.Join(b.Dir, "kept") }

// keep stores a build under its SHA-256, so that a node that runs it needs to be sent
// only the difference from it to the next build. The hard link takes no space until go
// build replaces the file. On a file system without hard links nothing is kept, and
// builds are sent whole.
func (b *Builder) keep(built *Artifact) {
	dir := b.keptDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return
	}
	kept := filepath.Join(dir, built.SHA256)
	if err := os.Link(built.Path, kept); err != nil && !os.IsExist(err) {
		return
	}
	b.markUsed(kept)
	b.prune()
}

// markUsed makes a kept build the last one to be pruned.
func (b *Builder) markUsed(kept string) {
	now := time.Now()
	_ = os.Chtimes(kept, now, now)
}

// prune removes the least recently used builds beyond the bounds. It ignores errors.
func (b *Builder) prune() {
	entries, _ := os.ReadDir(b.keptDir())
	var all []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(x, y os.FileInfo) int { return y.ModTime().Compare(x.ModTime()) })
	var size int64
	for i, info := range all {
		if size += info.Size(); i > 0 && (i >= maxKeptBuilds || size > maxKeptBytes) {
			os.Remove(filepath.Join(b.keptDir(), info.Name()))
		}
	}
}

// OpenKept opens the kept build with that SHA-256, which comes from a node; it returns
// nil if there is none. It hashes the file, which may have been changed, and removes
// it if it was.
func (b *Builder) OpenKept(sum string) *os.File {
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(sum) {
		return nil
	}
	path := filepath.Join(b.keptDir(), sum)
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil || hex.EncodeToString(h.Sum(nil)) != sum {
		f.Close()
		os.Remove(path)
		return nil
	}
	b.markUsed(path)
	return f
}
