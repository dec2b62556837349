package serve

import (
	"slices"
	"testing"
)

// TestSessionTells keeps for its user what is said before anybody listens.
func TestSessionTells(t *testing.T) {
	var s session
	var heard []string
	s.tellUser("one")
	s.Notify(func(line string) { heard = append(heard, line) })
	s.tellUser("two\x1b")
	if !slices.Equal(heard, []string{"one", `two\x1b`}) {
		t.Errorf("heard %q", heard)
	}
}
