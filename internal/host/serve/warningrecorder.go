package serve

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Warning is a log record with level Warn or above.
type Warning struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// maxWarningSize bounds Warning.Text, in bytes.
const maxWarningSize = 1 << 10

// warningRecorder is an [slog.Handler] that keeps the last warning or error. It passes all
// records on to another handler.
type warningRecorder struct {
	slog.Handler
	attrs  string // from WithAttrs
	latest *latestWarning
}

// latestWarning is shared by all handlers of one log.
type latestWarning struct {
	mu      sync.Mutex
	warning *Warning
}

func newWarningRecorder(h slog.Handler) *warningRecorder {
	return &warningRecorder{Handler: h, latest: &latestWarning{}}
}

// Enabled implements [slog.Handler]. Warnings are recorded even if they are not logged.
func (r *warningRecorder) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || r.Handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (r *warningRecorder) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelWarn {
		var text strings.Builder
		text.WriteString(record.Message)
		record.Attrs(func(a slog.Attr) bool {
			text.WriteString(formatAttr(a))
			return text.Len() < maxWarningSize
		})
		text.WriteString(r.attrs)
		r.latest.set(record.Time, text.String())
	}
	if !r.Handler.Enabled(ctx, record.Level) {
		return nil
	}
	return r.Handler.Handle(ctx, record)
}

func formatAttr(a slog.Attr) string { return " " + a.Key + "=" + a.Value.String() }

func (w *latestWarning) set(at time.Time, text string) {
	text = diag.EscapeLine(text)
	if len(text) > maxWarningSize {
		text = strings.ToValidUTF8(text[:maxWarningSize], "") + "…"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warning = &Warning{at, text}
}

// WithAttrs implements [slog.Handler].
func (r *warningRecorder) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := &warningRecorder{r.Handler.WithAttrs(attrs), r.attrs, r.latest}
	for _, a := range attrs {
		with.attrs += formatAttr(a)
	}
	return with
}

// WithGroup implements [slog.Handler]. A Warning's text omits the group.
func (r *warningRecorder) WithGroup(name string) slog.Handler {
	return &warningRecorder{r.Handler.WithGroup(name), r.attrs, r.latest}
}

// last returns the last warning, nil if there was none.
func (r *warningRecorder) last() *Warning {
	r.latest.mu.Lock()
	defer r.latest.mu.Unlock()
	return r.latest.warning
}
