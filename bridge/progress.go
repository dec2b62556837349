package bridge

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// DialOptions are the parts of a client's configuration that are meant for dapbridge
// rather than for the debugger.
type DialOptions struct {
	Protocol Protocol

	// Symbols is the configuration's attribute "symbols": ask, auto, never, refuse, or ""
	// if it is not set.
	Symbols string
	// Progress shows the user the progress of a slow Dial. It is called by one
	// goroutine at a time, and not after Dial has returned. It may be nil.
	Progress func(Progress)
}

// Progress is the progress of a slow step.
type Progress struct {
	Text        string // names the step, one line
	Done, Total int    // Total is 0 if there is nothing to count
}

// dialOptions returns the options that the IDE's configuration sets.
func (a attachArgs) dialOptions() (DialOptions, error) {
	switch a.Symbols {
	case "", "ask", "auto", "never", "refuse":
		return DialOptions{Symbols: a.Symbols}, nil
	}
	return DialOptions{}, diag.Errorf(diag.Usage, "symbols is %q: choose ask, auto, never or refuse", a.Symbols).WithHint("correct launch.json")
}

// progressReporter reports progress to an IDE (DAP, Progress Start Event). If the IDE
// cannot show that, it prints each new text in the debug console.
type progressReporter struct {
	out     *outbox
	canShow bool // the IDE can show progress events

	mu        sync.Mutex
	isStarted bool
	text      string
	last      time.Time
}

const (
	progressID    = "dapbridge"
	progressPause = 250 * time.Millisecond // minimum between two updates of one text
)

// canShowProgress reports whether the IDE can show progress, by its initialize request
// (DAP, InitializeRequestArguments).
func canShowProgress(initialize []byte) bool {
	var r struct {
		Arguments struct {
			SupportsProgressReporting bool `json:"supportsProgressReporting"`
		} `json:"arguments"`
	}
	return json.Unmarshal(initialize, &r) == nil && r.Arguments.SupportsProgressReporting
}

// update reports s, unless it follows the last report of the same step too soon.
func (p *progressReporter) update(s Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := s.Text != p.text
	if !fresh && time.Since(p.last) < progressPause {
		return
	}
	p.text, p.last = s.Text, time.Now()
	if !p.canShow {
		if fresh {
			p.out.console(diag.Escape(s.Text))
		}
		return
	}
	body := map[string]any{"progressId": progressID, "message": diag.Escape(s.Text)}
	if s.Total > 0 {
		body["percentage"] = min(100*s.Done/s.Total, 100)
	}
	if p.isStarted {
		p.out.event("progressUpdate", body)
		return
	}
	p.isStarted = true
	body["title"] = "dapbridge"
	p.out.event("progressStart", body)
}

// end reports that the work is done or has failed.
func (p *progressReporter) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isStarted {
		p.out.event("progressEnd", map[string]any{"progressId": progressID})
	}
}
