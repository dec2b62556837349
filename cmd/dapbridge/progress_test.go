package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// upload shows an upload of 4 MB that takes the given time.
func upload(p *progress, took time.Duration) {
	show := p.transfer("uploading the agent")
	for done := range int64(5) {
		show(done*1e6, 4e6)
		time.Sleep(took / 4)
	}
}

func TestProgress(t *testing.T) {
	const step = "uploading the agent (4.0 MB) ...\n"
	for name, tt := range map[string]struct {
		terminal bool
		took     time.Duration
		want     string
	}{
		"not a terminal": {false, time.Minute, step},
		"short":          {true, time.Second / 2, step},
		"long":           {true, 4 * time.Second, step + "\r\x1b[K  1.0 MB of 4.0 MB\r\x1b[K  2.0 MB of 4.0 MB\r\x1b[K  3.0 MB of 4.0 MB\r\x1b[K"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				upload(&progress{out: &out, terminal: tt.terminal}, tt.took)
				if got := out.String(); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestProgressOfSteps checks that a step clears the progress line of the one before.
func TestProgressOfSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{out: &out, terminal: true}
		p.step("building")
		for n := range 3 {
			p.update("%d of 3 packages", n)
			time.Sleep(time.Second)
		}
		p.step("comparing")
		p.update("not shown yet")
		p.done()
		const want = "building ...\n\r\x1b[K  1 of 3 packages\r\x1b[K  2 of 3 packages\r\x1b[Kcomparing ...\n"
		if got := out.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
