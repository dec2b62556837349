package serve

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestLastWarning remembers warnings, whatever the log's level, and lets all pass.
func TestLastWarning(t *testing.T) {
	var written bytes.Buffer
	l := newWarningRecorder(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelError}))
	log := slog.New(l)
	if log.Info("nothing"); l.last() != nil {
		t.Errorf("%+v", l.last())
	}
	log.With("node", "minikube").WithGroup("g").Warn("first", "reason", "two\nlines\x1b[31m")
	if w := l.last(); w == nil || w.Text != `first reason=two\nlines\x1b[31m node=minikube` || w.At.IsZero() {
		t.Errorf("%+v", w)
	}
	if written.Len() > 0 {
		t.Errorf("written at the level of errors: %s", written.String())
	}
	log.Error(strings.Repeat("é", maxWarningSize))
	if w := l.last(); len(w.Text) > maxWarningSize+len("…") || !strings.HasPrefix(w.Text, "éé") {
		t.Errorf("%d bytes: %+v", len(w.Text), w)
	}
	if !strings.Contains(written.String(), "level=ERROR") {
		t.Error("the error was not written")
	}
}
