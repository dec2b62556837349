package bridge

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Wish is what a client asks for with its session beyond what the debugger
// understands.
type DialOptions struct {
	Protocol Protocol

	// Symbols is the configuration's attribute "symbols": ask, auto or never,
	// or "" if it says nothing.
	Symbols string
	// Progress shows the user what takes long before the session begins. It is
	// called by one goroutine at a time, and not after Dial has returned. It
	// may be nil.
	Progress func(Progress)
}

// Progress says how far something is that takes long.
type Progress struct {
	Text        string // what is being done, one line
	Done, Total int    // 0 of 0 if there is nothing to count
}

// wish reads what the IDE's configuration asks for.
func (a attachArgs) dialOptions() (DialOptions, error) {
	switch a.Symbols {
	case "", "ask", "auto", "never":
		return DialOptions{Symbols: a.Symbols}, nil
	}
	return DialOptions{}, diag.Errorf(diag.Usage, "symbols is %q: choose ask, auto or never", a.Symbols).WithHint("correct launch.json")
}

// progress tells an IDE how far something is (DAP, Progress Start Event), or
// prints each new text in its debug console if it shows none.
type progressReporter struct {
	out     *outbox
	isShown bool // the IDE shows progress

	mu        sync.Mutex
	isStarted bool
	text      string
	last      time.Time
}

const (
	progressID    = "dapbridge"
	progressPause = 250 * time.Millisecond // between two updates of one text
)

// showsProgress reads the IDE's initialize request (DAP,
// InitializeRequestArguments).
func showsProgress(initialize []byte) bool {
	var r struct {
		Arguments struct {
			SupportsProgressReporting bool `json:"supportsProgressReporting"`
		} `json:"arguments"`
	}
	return json.Unmarshal(initialize, &r) == nil && r.Arguments.SupportsProgressReporting
}

// tell passes on how far it is, now and then.
func (p *progressReporter) update(s Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := s.Text != p.text
	if !fresh && time.Since(p.last) < progressPause {
		return
	}
	p.text, p.last = s.Text, time.Now()
	if !p.isShown {
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

// end says that it is over.
func (p *progressReporter) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isStarted {
		p.out.event("progressEnd", map[string]any{"progressId": progressID})
	}
}
