package testenv

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// make torture repeats what is random more often than the tiers do. It sets these.
const (
	tortureCount    = "DAPBRIDGE_TORTURE_COUNT"
	tortureSeed     = "DAPBRIDGE_TORTURE_SEED"
	tortureDuration = "DAPBRIDGE_TORTURE_DURATION"
)

// Rounds returns how often a test repeats something whose outcome is a matter of
// chance: n times, and COUNT times as often in make torture.
func Rounds(t testing.TB, n int) int {
	t.Helper()
	text := os.Getenv(tortureCount)
	if text == "" {
		return n
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		t.Fatalf("%s=%s: want a number above zero", tortureCount, text)
	}
	return n * count
}

// Seed returns the seed of a test that draws at random: another one each time, or
// that of make torture. The test's log names it.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(tortureSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", tortureSeed, err)
		}
	}
	t.Logf("seed %d", seed)
	return seed
}

// Lasts returns for how long a test does something at random: d, and DURATION in
// make torture.
func Lasts(t testing.TB, d time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(tortureDuration)
	if text == "" {
		return d
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", tortureDuration, err)
	}
	return long
}
