//go:build linux

package swap

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
	"golang.org/x/sys/unix"
)

// TestLockOfRemovedStore waits for the lock of a restore, which removes the store at
// its end.
func TestLockOfRemovedStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "swap")
	_, unlock, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	type opened struct {
		unlock func()
		err    error
	}
	waits := make(chan opened)
	go func() {
		_, unlock, err := openStore(dir)
		waits <- opened{unlock, err}
	}()
	if !testenv.Eventually(10*time.Second, func() bool { return openFiles(t, filepath.Join(dir, "lock")) >= 2 }) {
		t.Fatal("the second run does not open the lock")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
	second := <-waits
	if second.err != nil {
		t.Fatal(second.err)
	}
	defer second.unlock()
	if !isLocked(t, filepath.Join(dir, "lock")) {
		t.Error("two runs have the lock")
	}
}

// openFiles counts this process's descriptors of a file.
func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == path {
			n++
		}
	}
	return n
}

func isLocked(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// TestAttachLock checks that swap and attach exclude each other.
func TestAttachLock(t *testing.T) {
	s, unlock, err := openStore(filepath.Join(t.TempDir(), "swap"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	release, err := PreventSwap(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*pollPause)
	defer cancel()
	if _, err := s.preventAttach(ctx); err == nil {
		t.Error("a swap begins while a debugger attaches")
	}
	release()
	release, err = s.preventAttach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !isLocked(t, filepath.Join(s.dir, "attach")) {
		t.Error("a debugger may attach")
	}
	release()
}

// TestStoreElsewhere finds the store of an agent in another directory.
func TestStoreElsewhere(t *testing.T) {
	b := newBench(t)
	bin := filepath.Join(t.TempDir(), "daemon")
	install(t, bin, newExecutable(t, "original"))
	b.recordDeploy("a.service", bin, stageDeployed, nil)
	here, there := filepath.Join(t.TempDir(), "dapbridge"), filepath.Dir(b.Dir)
	if got := Store(here, []string{there, here}); got != b.Dir {
		t.Errorf("with a record in %s: %s", b.Dir, got)
	}
	if got, want := Store(here, []string{here}), filepath.Join(here, "swap"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := Store(here, []string{there}), filepath.Join(here, "swap"); got != want {
		t.Errorf("an agent in a directory that no host uses: %s, want %s", got, want)
	}
}
