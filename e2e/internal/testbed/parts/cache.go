//go:build linux

package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/ledger"
)

// Cache is a directory of finished parts. Several processes may share it: a lock for
// each part makes the second wait for the first. Only root can build parts.
type Cache struct {
	Dir string
	// Logf is called with a line about every operation that takes a while, possibly
	// by several goroutines.
	Logf func(format string, args ...any)
}

// part is a part to build.
type part struct {
	name, version string
	recipe        []string // everything besides the version that the result depends on
	duration      string   // approximate duration on two cores, for messages
	// build fills the empty directory w.out, which is renamed if it succeeds.
	build func(ctx context.Context, w workspace) error
}

// get returns the directory of p and builds p first if it is missing.
func (c *Cache) get(ctx context.Context, p part) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(p.recipe, "\x00")))
	final := filepath.Join(c.Dir, fmt.Sprintf("%s-%s-%s", p.name, p.version, hex.EncodeToString(sum[:5])))
	if isDir(final) {
		return final, nil
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := c.lock(ctx, p.name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if isDir(final) { // another process has built it meanwhile
		return final, nil
	}
	if err := c.buildPart(ctx, p, final); err != nil {
		return "", fmt.Errorf("build %s %s: %w", p.name, p.version, err)
	}
	return final, nil
}

// buildPart builds p in a workspace beside final and renames it. The caller must hold
// p's lock, so an existing workspace of p was left by a crash.
func (c *Cache) buildPart(ctx context.Context, p part, final string) error {
	prefix := filepath.Join(c.Dir, ".making-"+p.name+"-")
	stale, _ := filepath.Glob(prefix + "*")
	for _, dir := range stale {
		if err := ledger.RemoveTree(dir); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(c.Dir, filepath.Base(prefix))
	if err != nil {
		return err
	}
	defer ledger.RemoveTree(dir)
	w := workspace{out: filepath.Join(dir, "out"), tmp: filepath.Join(dir, "tmp")}
	for _, sub := range []string{w.out, w.tmp} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			return err
		}
	}
	done := c.announce(p)
	err = p.build(ctx, w)
	done(err)
	if err != nil {
		return err
	}
	return os.Rename(w.out, final)
}

// announce logs that p is being built, and again every half minute until done is
// called.
func (c *Cache) announce(p part) (done func(error)) {
	what, start := p.name+" "+p.version, time.Now()
	c.Logf("building %s (once, %s) ...", what, p.duration)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(30 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.Logf("still building %s, %.0f s", what, time.Since(start).Seconds())
			case <-stop:
				return
			}
		}
	}()
	return func(err error) {
		close(stop)
		<-stopped
		if err == nil {
			c.Logf("built %s in %.0f s", what, time.Since(start).Seconds())
		}
	}
}

// lock takes the lock of that name and blocks while it is held.
func (c *Cache) lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.Dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for logged := false; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !logged {
			c.Logf("waiting for another process that builds %s ...", name)
			logged = true
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
