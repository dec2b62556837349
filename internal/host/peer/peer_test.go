package peer

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	here, there := ap("127.0.0.1:4040"), ap("127.0.0.1:59010")
	ours := entry{there, here, 1000, true}
	failure := errors.New("failure")
	for _, tt := range []struct {
		name  string
		first []entry
		later []entry
		fail  error
		want  uint32
		err   string
	}{
		{name: "found", first: []entry{{here, there, 1, true}, ours, ours}, want: 1000},
		{name: "found the second time", later: []entry{ours}, want: 1000},
		{name: "nowhere", first: []entry{{here, there, 1000, true}}, err: "--listen unix:PATH"},
		{name: "closed", first: []entry{{there, here, 1000, false}}, err: "--listen unix:PATH"},
		{name: "another connection from there", first: []entry{{there, ap("127.0.0.1:4041"), 1000, true}}, err: "no process"},
		{name: "another connection to here", first: []entry{{ap("127.0.0.1:59011"), here, 1000, true}}, err: "no process"},
		{name: "several", first: []entry{ours, {there, here, 1001, true}}, err: "several owners"},
		{name: "unreadable", fail: failure, err: "failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entries := tt.first
			got, err := search(here, there, func(add func(entry)) error {
				for _, e := range entries {
					add(e)
				}
				entries = tt.later
				return tt.fail
			})
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %d, %v; want %d, %s", got, err, tt.want, tt.err)
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
