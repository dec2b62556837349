package serve

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestWarningRecorder checks that warnings are recorded even if the log's level excludes
// them, and that what the level includes is passed on.
func TestWarningRecorder(t *testing.T) {
	var written bytes.Buffer
	r := newWarningRecorder(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelError}))
	log := slog.New(r)
	if log.Info("nothing"); r.last() != nil {
		t.Errorf("got %+v from an info record", r.last())
	}

	log.With("node", "minikube").WithGroup("g").Warn("first", "reason", "two\nlines\x1b[31m")
	w := r.last()
	if w == nil {
		t.Fatal("the warning was not recorded")
	}
	if want := `first reason=two\nlines\x1b[31m node=minikube`; w.Text != want {
		t.Errorf("got %q, want %q", w.Text, want)
	}
	if w.At.IsZero() {
		t.Error("the warning has no time")
	}
	if written.Len() > 0 {
		t.Errorf("wrote a warning at level Error: %s", written.String())
	}

	log.Error(strings.Repeat("é", maxWarningSize))
	w = r.last()
	if got, most := len(w.Text), maxWarningSize+len("…"); got > most {
		t.Errorf("got %d bytes, want at most %d", got, most)
	}
	if !strings.HasPrefix(w.Text, "éé") {
		t.Errorf("got %.20q…, want éé…", w.Text)
	}
	if !strings.Contains(written.String(), "level=ERROR") {
		t.Error("the error was not written")
	}
}
