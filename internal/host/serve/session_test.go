package serve

import (
	"slices"
	"testing"
)

// TestSessionKeepsLines checks that lines are kept until Notify is called.
func TestSessionKeepsLines(t *testing.T) {
	var s session
	var got []string
	s.tellUser("one")
	s.Notify(func(line string) { got = append(got, line) })
	s.tellUser("two\x1b\ndapbridge: three")
	if want := []string{"one", `two\x1b\ndapbridge: three`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
