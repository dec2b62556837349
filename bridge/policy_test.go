package bridge

import (
	"encoding/json"
	"fmt"
	"testing"
)

// The bridge answers requests that must never reach the node, and says why; requests
// that only look like them are relayed.
func TestForbiddenRequests(t *testing.T) {
	const pass = ""
	evaluate := func(expr string) string {
		quoted, _ := json.Marshal(expr)
		return fmt.Sprintf(`{"expression":%s,"context":"repl"}`, quoted)
	}
	_, i, s := serveSession(t, Config{})
	for _, c := range []struct{ command, args, want string }{
		{"restart", "", "the target belongs to the node"},
		{"restart", `{"arguments":{}}`, "the target belongs to the node"},
		{"dataBreakpointInfo", `{"name":"x"}`, "data breakpoints are not supported"},
		{"setDataBreakpoints", `{"breakpoints":[{"dataId":"x"}]}`, "data breakpoints are not supported"},
		{"setDataBreakpoints", `{"Breakpoints":[{"dataId":"x"}]}`, "data breakpoints are not supported"},
		{"setDataBreakpoints", `{"breakpoints":[],"breakpoints":[{"dataId":"x"}]}`, "data breakpoints are not supported"},
		{"setDataBreakpoints", `{"breakpoints":{}}`, "data breakpoints are not supported"},
		{"setDataBreakpoints", `{"breakpoints":[]}`, pass},
		{"setDataBreakpoints", `{}`, pass},
		{"setDataBreakpoints", "", pass},
		{"evaluate", evaluate("dlv target follow-exec -on"), "other processes on the node are not followed"},
		{"evaluate", evaluate("  dlv \ttarget  follow-exec\t-on .*"), "other processes on the node are not followed"},
		{"evaluate", evaluate("\ndlv target switch 1"), "other processes on the node are not followed"},
		{"evaluate", `{"expression":"\u0064lv target switch 1"}`, "other processes on the node are not followed"},
		{"evaluate", `{"expression":"a","EXPRESSION":"dlv target follow-exec -on"}`, "other processes on the node are not followed"},
		{"evaluate", evaluate("dlv config substitutePath a b"), "paths are mapped by dapbridge"},
		{"evaluate", evaluate("dlv config  substitutePath -clear"), "paths are mapped by dapbridge"},
		{"evaluate", `{"expression":5}`, "cannot read"},
		{"evaluate", evaluate("dlv sources"), pass},
		{"evaluate", evaluate("dlv sources target switch"), pass},
		{"evaluate", evaluate("dlv config -list"), pass},
		{"evaluate", evaluate("dlv config -list substitutePath"), pass},
		{"evaluate", evaluate("dlv config substitutePath"), pass},
		{"evaluate", evaluate("dlv config showGlobalVariables true"), pass},
		{"evaluate", evaluate("dlv target list"), pass},
		{"evaluate", evaluate("dlv help target"), pass},
		{"evaluate", evaluate("dlv"), pass},
		{"evaluate", evaluate("dlvx target switch 1"), pass},
		{"evaluate", evaluate(`"dlv target switch 1"`), pass},
		{"evaluate", evaluate("a.b[0] + 1"), pass},
		{"evaluate", evaluate("call f(1)"), pass},
		{"evaluate", evaluate(""), pass},
		{"evaluate", "", pass},
		{"Restart", "", pass}, // not a command that Delve knows
		{"setVariable", `{"name":"x","value":"1"}`, pass},
		{"pause", `{"threadId":1}`, pass},
		{"terminateThreads", "", pass}, // Delve does not know it either
	} {
		seq := i.request(c.command, c.args)
		if c.want != pass {
			i.expectConsole(c.want)
			i.expectRefusal(seq, c.command, c.want)
			continue
		}
		got := s.expect("request", c.command)
		if string(got.Arguments) != c.args {
			t.Errorf("%s %s reached the node with %s", c.command, c.args, got.Arguments)
		}
		s.respond(got, "")
		i.expectResponse(seq, c.command)
	}
	i.roundTrip(s)
}

// The same goes for a command that is spelled with escapes.
func TestForbiddenRequestsInDisguise(t *testing.T) {
	_, i, s := serveSession(t, Config{})
	i.send(`{"seq":77,"t\u0079pe":"request","c\u006fmmand":"re\u0073tart"}`)
	i.expectConsole("the target belongs to the node")
	i.expectRefusal(77, "restart")
	i.send(`{"seq":78,"type":"request","command":"\u0074erminate"}`)
	i.expectConsole("the target is not terminated")
	i.expectResponse(78, "terminate")
	i.expect("event", "terminated")
	s.expectEnd()
}

// The IDE is not offered what the bridge forbids, neither in the response to initialize
// nor in a later event.
func TestWithheldCapabilities(t *testing.T) {
	n := newNode(t)
	n.caps = `{"supportsRestartRequest":true,"supportsTerminateRequest":true,"supportTerminateDebuggee":true,` +
		`"supportSuspendDebuggee":true,"supportsDataBreakpoints":true,"supportsLogPoints":true,"supportsX":[1e3]}`
	want := `{"supportsRestartRequest":false,"supportsTerminateRequest":false,"supportTerminateDebuggee":false,` +
		`"supportSuspendDebuggee":false,"supportsDataBreakpoints":false,"supportsLogPoints":true,"supportsX":[1e3]}`
	i := serve(t, Config{Dialer: n}).dialIDE()
	if got := i.expectResponse(i.request("initialize", initializeArgs), "initialize"); string(got.Body) != want {
		t.Errorf("initialize offers\n%s, want\n%s", got.Body, want)
	}
	attach := i.request("attach", "{}")
	s := n.nextSession()
	s.accept()
	i.expect("event", "initialized")
	i.expectResponse(attach, "attach")
	for body, want := range map[string]string{
		`{"capabilities":` + n.caps + `,"x":1.0}`:                             `{"capabilities":` + want + `,"x":1.0}`,
		`{"capabilities":{"supportsRestartRequest" : "yes"}}`:                 `{"capabilities":{"supportsRestartRequest" : false}}`,
		`{"capabilities":{"supportsRestartRequest":false}}`:                   `{"capabilities":{"supportsRestartRequest":false}}`,
		`{"capabilities":{"supportsStepBack":true}}`:                          `{"capabilities":{"supportsStepBack":true}}`,
		`{"capabilities":{"supportsRestartRequest":false,` + n.caps[1:] + `}`: `{"capabilities":{"supportsRestartRequest":false,` + want[len(`{"supportsRestartRequest":false,`):] + `}`,
		`{}`:   `{}`,
		`null`: `null`,
		``:     ``,
	} {
		s.event("capabilities", body)
		if got := i.expect("event", "capabilities"); string(got.Body) != want {
			t.Errorf("%s reaches the IDE as\n%s, want\n%s", body, got.Body, want)
		}
	}
}
