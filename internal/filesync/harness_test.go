package filesync_test

import (
	"os"
	"testing"
)

// unavailable skips a test for a person whose machine lacks something, and
// fails it in CI, where nothing may be left out unseen.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
