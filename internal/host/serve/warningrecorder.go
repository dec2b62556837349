package serve

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Warning is a line of the log.
type Warning struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// maxWarning bounds what is remembered of a line, in bytes.
const maxWarningSize = 1 << 10

// lastWarning is a handler of a log that remembers the last warning or error, and
// has another handler write all.
type warningRecorder struct {
	slog.Handler
	attrs string // of the handler
	kept  *latestWarning
}

type latestWarning struct {
	mu sync.Mutex
	w  *Warning
}

func newWarningRecorder(h slog.Handler) *warningRecorder {
	return &warningRecorder{Handler: h, kept: &latestWarning{}}
}

// Enabled implements [slog.Handler].
func (l *warningRecorder) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || l.Handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (l *warningRecorder) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var text strings.Builder
		text.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool {
			text.WriteString(formatAttr(a))
			return text.Len() < maxWarningSize
		})
		text.WriteString(l.attrs)
		l.kept.keep(r.Time, text.String())
	}
	if !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

func formatAttr(a slog.Attr) string { return " " + a.Key + "=" + a.Value.String() }

func (k *latestWarning) keep(at time.Time, text string) {
	text = diag.EscapeLine(text)
	if len(text) > maxWarningSize {
		text = strings.ToValidUTF8(text[:maxWarningSize], "") + "…"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.w = &Warning{at, text}
}

// WithAttrs implements [slog.Handler].
func (l *warningRecorder) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := &warningRecorder{l.Handler.WithAttrs(attrs), l.attrs, l.kept}
	for _, a := range attrs {
		with.attrs += formatAttr(a)
	}
	return with
}

// WithGroup implements [slog.Handler]. A warning's own names are short without it.
func (l *warningRecorder) WithGroup(name string) slog.Handler {
	return &warningRecorder{l.Handler.WithGroup(name), l.attrs, l.kept}
}

// last returns the last warning, nil if there was none.
func (l *warningRecorder) last() *Warning {
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	return l.kept.w
}
