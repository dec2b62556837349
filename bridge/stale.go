package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// verdictTimeout bounds how long the response to setBreakpoints waits for the verdict
// on its file.
const verdictTimeout = 2 * time.Second

// verdict is the result of comparing a breakpoint's file with the target's binary.
type verdict struct {
	done chan struct{}
	text string // for the user, valid once done is closed; "" if the file is not stale
}

// staleChecker checks files in the background.
type staleChecker struct {
	sources SourceFiles
	hostMap *pathmap.Map
	ctx     context.Context // ends the checks
	wg      *sync.WaitGroup // joins their goroutines

	mu       sync.Mutex
	reported map[string]bool // the texts that the user has been shown
}

// newStaleChecker returns nil if the session gives no access to files.
func newStaleChecker(ctx context.Context, wg *sync.WaitGroup, sess Session) *staleChecker {
	if sess.Sources() == nil {
		return nil
	}
	return &staleChecker{sources: sess.Sources(), hostMap: sess.Map(), ctx: ctx, wg: wg, reported: map[string]bool{}}
}

// start starts checking the file of a setBreakpoints request with node paths. It
// returns nil if there is nothing to check.
func (s *staleChecker) start(request []byte) *verdict {
	var r struct {
		Arguments struct{ Source struct{ Path string } }
	}
	if s == nil || json.Unmarshal(request, &r) != nil || r.Arguments.Source.Path == "" {
		return nil
	}
	return s.startFile(r.Arguments.Source.Path)
}

// startFile starts checking a file by its path in the target's binary.
func (s *staleChecker) startFile(node string) *verdict {
	host, _ := s.hostMap.ToHost(node)
	v := &verdict{done: make(chan struct{})}
	s.wg.Go(func() {
		defer close(v.done)
		ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
		defer cancel()
		v.text = s.sources.CheckStale(ctx, host, node)
	})
	return v
}

// alreadyReported reports whether it was called with the same text before, so that each
// text is shown only once.
func (s *staleChecker) alreadyReported(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.reported[text]
	s.reported[text] = true
	return before
}

// relayBreakpoints relays the response to setBreakpoints once there is a verdict on the
// file, or after verdictTimeout. It adds a verdict that is in time to each breakpoint's
// message, and prints any verdict once in the debug console. Other messages are relayed
// in the meantime.
func (c *dapClient) relayBreakpoints(up *upstream, in nodeMessage, p pendingRequest) error {
	select {
	case <-p.verdict.done:
		c.reportVerdict(up, p.verdict)
		if p.verdict.text == "" {
			return c.sendToIDE(in, p)
		}
		c.relayResponse(up, withMessage(in.body, p.verdict.text), p)
		return nil
	default:
	}
	body := slices.Clone(in.body)
	c.wg.Go(func() {
		timer := time.NewTimer(verdictTimeout)
		defer timer.Stop()
		select {
		case <-p.verdict.done:
			c.reportVerdict(up, p.verdict)
			c.relayResponse(up, withMessage(body, p.verdict.text), p)
		case <-timer.C:
			c.relayResponse(up, body, p)
			<-p.verdict.done
			c.reportVerdict(up, p.verdict)
		}
	})
	return nil
}

// reportVerdict prints a verdict in the debug console, once.
func (c *dapClient) reportVerdict(up *upstream, v *verdict) {
	if v.text != "" && !up.stale.alreadyReported(v.text) {
		c.out.console(v.text)
	}
}

// relayResponse is sendToIDE for goroutines other than relayNode's.
func (c *dapClient) relayResponse(up *upstream, body []byte, p pendingRequest) {
	in, err := up.scan(new(pathmap.Edits), body)
	if err == nil {
		err = c.sendToIDE(in, p)
	}
	if err != nil {
		c.log.Debug("cannot relay the response to setBreakpoints", "error", err)
	}
}

// withMessage returns a response to setBreakpoints with text added to the message of
// each breakpoint.
func withMessage(body []byte, text string) []byte {
	if text == "" {
		return body
	}
	content, _ := member(body, "body")
	list, _ := member(content, "breakpoints")
	var breakpoints [][]byte
	var raw []json.RawMessage
	if json.Unmarshal(list, &raw) != nil {
		return body
	}
	for _, b := range raw {
		if b[0] != '{' {
			breakpoints = append(breakpoints, b)
			continue
		}
		message := text
		var has struct{ Message string }
		if json.Unmarshal(b, &has) == nil && has.Message != "" {
			message = has.Message + "; " + text
		}
		quoted, err := json.Marshal(message)
		if err != nil {
			return body
		}
		breakpoints = append(breakpoints, setMember(b, "message", quoted))
	}
	list = append(append([]byte("["), bytes.Join(breakpoints, []byte(","))...), ']')
	return setMember(body, "body", setMember(content, "breakpoints", list))
}
