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
const maxWarning = 1 << 10

// lastWarning is a handler of a log that remembers the last warning or error, and
// has another handler write all.
type lastWarning struct {
	slog.Handler
	attrs string // of the handler
	kept  *keptWarning
}

type keptWarning struct {
	mu sync.Mutex
	w  *Warning
}

func newLastWarning(h slog.Handler) *lastWarning {
	return &lastWarning{Handler: h, kept: &keptWarning{}}
}

// Enabled implements [slog.Handler].
func (l *lastWarning) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || l.Handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (l *lastWarning) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var text strings.Builder
		text.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool {
			text.WriteString(attrText(a))
			return text.Len() < maxWarning
		})
		text.WriteString(l.attrs)
		l.kept.keep(r.Time, text.String())
	}
	if !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

func attrText(a slog.Attr) string { return " " + a.Key + "=" + a.Value.String() }

func (k *keptWarning) keep(at time.Time, text string) {
	text = diag.EscapeLine(text)
	if len(text) > maxWarning {
		text = strings.ToValidUTF8(text[:maxWarning], "") + "…"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.w = &Warning{at, text}
}

// WithAttrs implements [slog.Handler].
func (l *lastWarning) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := &lastWarning{l.Handler.WithAttrs(attrs), l.attrs, l.kept}
	for _, a := range attrs {
		with.attrs += attrText(a)
	}
	return with
}

// WithGroup implements [slog.Handler]. A warning's own names are short without it.
func (l *lastWarning) WithGroup(name string) slog.Handler {
	return &lastWarning{l.Handler.WithGroup(name), l.attrs, l.kept}
}

// last returns the last warning, nil if there was none.
func (l *lastWarning) last() *Warning {
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	return l.kept.w
}
