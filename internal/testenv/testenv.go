// Package testenv gives tests what they need of the machine, and skips those that
// cannot have it. Only tests import it.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"time"
)

// Skipf skips a test that cannot run on this machine, and says why. Under CI=true,
// where nothing may be left out unseen, the test fails instead.
func Skipf(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI must not skip: "+format, args...)
	}
	t.Skipf("skipped: "+format, args...)
}

// All reports whether the tests of the second tier are to run too (make test-all).
func All() bool { return os.Getenv("DAPBRIDGE_TEST") == "all" }

// SecondTier has a test run only with those of the second tier: it builds or boots
// what the others do without, or it covers a rare case.
func SecondTier(t testing.TB) {
	t.Helper()
	if !All() {
		Skipf(t, "a test of the second tier: make test-all")
	}
}

// SkipOn skips a test on an operating system that lacks what it is about. CI may
// skip it there too.
func SkipOn(t testing.TB, goos, reason string) {
	t.Helper()
	if runtime.GOOS == goos {
		t.Skipf("skipped on %s: %s", goos, reason)
	}
}

// NeedsLinux is SkipOn for everything but Linux.
func NeedsLinux(t testing.TB, reason string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skipf("skipped on %s: %s", runtime.GOOS, reason)
	}
}

// SkipShort skips a test in a run of go test -short, for the given reason.
func SkipShort(t testing.TB, reason string) {
	t.Helper()
	if testing.Short() {
		Skipf(t, "-short: %s", reason)
	}
}

// NeedsRoot skips a test that only root can run, for the given reason.
func NeedsRoot(t testing.TB, reason string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skipf(t, "needs root: %s", reason)
	}
}

// NeedsTool skips a test unless the program is installed, and returns its path.
func NeedsTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skipf(t, "needs %s: %v", name, err)
	}
	return path
}

// WriteFile writes a file, and makes its directory where that is missing.
func WriteFile[T string | []byte](t testing.TB, name string, content T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ReadFile returns the content of a file.
func ReadFile(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Equal reports an error unless got equals want. what names the value.
func Equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s is %+v, want %+v", what, got, want)
	}
}

// Eventually polls until the condition holds, and reports whether it did so within
// the timeout.
func Eventually(timeout time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(timeout); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
