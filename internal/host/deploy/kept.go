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

// What is kept of builds that were made, whatever they were made from.
const (
	maxKeptBuilds = 6
	maxKeptBytes  = 1 << 30
)

func (b *Builder) keptDir() string { return filepath.Join(b.Dir, "kept") }

// keep keeps a build under its SHA-256: a node that runs it needs to be sent only
// what differs from it in the next one. It is kept by another name for its file,
// which costs nothing until go build replaces that; where a file system has no
// such thing, nothing is kept, and whole builds are sent.
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

// used makes a kept build the last one that is removed.
func (b *Builder) markUsed(kept string) {
	now := time.Now()
	_ = os.Chtimes(kept, now, now)
}

// prune removes the builds that were not used for longest. What can't be removed
// stays.
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

// Kept opens the build with that SHA-256, which a node has named; nil if it is
// not kept. The file may have been changed meanwhile: it is read once to see.
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
