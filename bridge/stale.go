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
type stale struct {
	sources Sources
	own     *pathmap.Map
	ctx     context.Context // ends what is sought
	wg      *sync.WaitGroup // joins it

	mu   sync.Mutex
	told map[string]bool // what the debug console has said
}

// newStale returns nil if nothing is known of the session's files.
func newStale(ctx context.Context, wg *sync.WaitGroup, sess Session) *stale {
	if sess.Sources() == nil {
		return nil
	}
	return &stale{sources: sess.Sources(), own: sess.Map(), ctx: ctx, wg: wg, told: map[string]bool{}}
}

// seek begins to find out about the file that a request to set breakpoints names
// to the node.
func (s *stale) seek(request []byte) *verdict {
	var r struct {
		Arguments struct{ Source struct{ Path string } }
	}
	if s == nil || json.Unmarshal(request, &r) != nil || r.Arguments.Source.Path == "" {
		return nil
	}
	return s.seekFile(r.Arguments.Source.Path)
}

// seekFile begins to find out about a file of the node's.
func (s *stale) seekFile(node string) *verdict {
	host, _ := s.own.ToHost(node)
	v := &verdict{done: make(chan struct{})}
	s.wg.Go(func() {
		defer close(v.done)
		ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
		defer cancel()
		v.text = s.sources.Stale(ctx, host, node)
	})
	return v
}

// toldOf reports whether the debug console has said so already, and that it has
// now.
func (s *stale) toldOf(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.told[text]
	s.told[text] = true
	return before
}

// answerJudged relays the answer to setBreakpoints once it is known what is to be
// said of the file: in each breakpoint's message, and once in the debug console.
// Other messages pass meanwhile.
func (c *client) answerJudged(up *upstream, in inbound, p pending) error {
	select {
	case <-p.verdict.done:
		c.tell(up, p.verdict)
		if p.verdict.text == "" {
			return c.toIDE(in, p)
		}
		c.relayAnswer(up, withMessage(in.body, p.verdict.text), p)
		return nil
	default:
	}
	body := slices.Clone(in.body)
	c.wg.Go(func() {
		timer := time.NewTimer(verdictTimeout)
		defer timer.Stop()
		select {
		case <-p.verdict.done:
			c.tell(up, p.verdict)
			c.relayAnswer(up, withMessage(body, p.verdict.text), p)
		case <-timer.C:
			c.relayAnswer(up, body, p)
			<-p.verdict.done
			c.tell(up, p.verdict)
		}
	})
	return nil
}

// tell says a verdict in the debug console, once.
func (c *client) tell(up *upstream, v *verdict) {
	if v.text != "" && !up.stale.toldOf(v.text) {
		c.out.console(v.text)
	}
}

// relayAnswer is toIDE for others than the reader of the node.
func (c *client) relayAnswer(up *upstream, body []byte, p pending) {
	in, err := up.read(new(pathmap.Edits), body)
	if err == nil {
		err = c.toIDE(in, p)
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
