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

// verdictTimeout bounds how long the answer to setBreakpoints waits for what is
// to be said of its file.
const verdictTimeout = 2 * time.Second

// verdict is what is said of a source file in which a breakpoint is set: that it
// is not what the target was built from.
type verdict struct {
	done chan struct{}
	text string // once done; "" if there is nothing to say
}

// stale asks the host about files, beside what the node does meanwhile.
type staleChecker struct {
	sources Sources
	hostMap *pathmap.Map
	ctx     context.Context // ends what is sought
	wg      *sync.WaitGroup // joins it

	mu       sync.Mutex
	reported map[string]bool // what the debug console has said
}

// newStale returns nil if nothing is known of the session's files.
func newStaleChecker(ctx context.Context, wg *sync.WaitGroup, sess Session) *staleChecker {
	if sess.Sources() == nil {
		return nil
	}
	return &staleChecker{sources: sess.Sources(), hostMap: sess.Map(), ctx: ctx, wg: wg, reported: map[string]bool{}}
}

// seek begins to find out about the file that a request to set breakpoints names
// to the node.
func (s *staleChecker) start(request []byte) *verdict {
	var r struct {
		Arguments struct{ Source struct{ Path string } }
	}
	if s == nil || json.Unmarshal(request, &r) != nil || r.Arguments.Source.Path == "" {
		return nil
	}
	return s.startFile(r.Arguments.Source.Path)
}

// seekFile begins to find out about a file of the node's.
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

// toldOf reports whether the debug console has said so already, and that it has
// now.
func (s *staleChecker) isReported(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.reported[text]
	s.reported[text] = true
	return before
}

// answerJudged relays the answer to setBreakpoints once it is known what is to be
// said of the file: in each breakpoint's message, and once in the debug console.
// Other messages pass meanwhile.
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

// tell says a verdict in the debug console, once.
func (c *dapClient) reportVerdict(up *upstream, v *verdict) {
	if v.text != "" && !up.stale.isReported(v.text) {
		c.out.console(v.text)
	}
}

// relayAnswer is toIDE for others than the reader of the node.
func (c *dapClient) relayResponse(up *upstream, body []byte, p pendingRequest) {
	in, err := up.scan(new(pathmap.Edits), body)
	if err == nil {
		err = c.sendToIDE(in, p)
	}
	if err != nil {
		c.log.Debug("an answer about breakpoints", "error", err)
	}
}

// withMessage returns an answer to setBreakpoints with text as the message of
// each breakpoint, behind one that it has.
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
