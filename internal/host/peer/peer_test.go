package peer

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	local, remote := ap("127.0.0.1:4040"), ap("127.0.0.1:59010")
	ours := entry{remote, local, 1000, true}
	failure := errors.New("failure")
	for _, tt := range []struct {
		name  string
		first []entry
		later []entry
		fail  error
		want  uint32
		err   string
	}{
		{name: "found", first: []entry{{local, remote, 1, true}, ours, ours}, want: 1000},
		{name: "found at the second attempt", later: []entry{ours}, want: 1000},
		{name: "nowhere", first: []entry{{local, remote, 1000, true}}, err: "--listen unix:PATH"},
		{name: "closed", first: []entry{{remote, local, 1000, false}}, err: "--listen unix:PATH"},
		{name: "another connection from the remote address", first: []entry{{remote, ap("127.0.0.1:4041"), 1000, true}}, err: "no process"},
		{name: "another connection to the local address", first: []entry{{ap("127.0.0.1:59011"), local, 1000, true}}, err: "no process"},
		{name: "several", first: []entry{ours, {remote, local, 1001, true}}, err: "several owners"},
		{name: "unreadable", fail: failure, err: "failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entries := tt.first
			got, err := search(local, remote, func(add func(entry)) error {
				for _, e := range entries {
					add(e)
				}
				entries = tt.later
				return tt.fail
			})
			if got != tt.want {
				t.Errorf("owner %d, want %d", got, tt.want)
			}
			if (err == nil) != (tt.err == "") {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %q, want %q", err, tt.err)
			}
		})
	}
}

func TestCheckRefusesOtherConnections(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if err := Check(a); err == nil || !strings.Contains(err.Error(), "--listen unix:PATH") {
		t.Errorf("net.Pipe: %v", err)
	}
}
