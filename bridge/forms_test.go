package bridge

import (
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/pathmap"
)

// An IDE that sends file URLs and counts from 0 has the same session as others, and
// Delve does not notice the difference.
func TestClientsOfOtherForms(t *testing.T) {
	m, err := pathmap.New(pathmap.Rule{Host: `C:\my src`, Node: "/build"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ form, request, response, event string }{
		{`{"adapterID":"go"}`,
			`{"source":{"path":"C:\\my src\\a.go"},"breakpoints":[{"line":12,"column":3}]}`,
			`{"breakpoints":[{"verified":true,"source":{"path":"C:\\my src\\a.go"},"line":12}]}`,
			`{"category":"console","output":"at C:\\my src\\a.go:12","source":{"path":"C:\\my src\\a.go"},"line":12}`},
		{`{"adapterID":"go","pathFormat":"uri","linesStartAt1":false,"columnsStartAt1":false}`,
			`{"source":{"path":"file:///c%3A/my%20src/a.go"},"breakpoints":[{"line":11,"column":2}]}`,
			`{"breakpoints":[{"verified":true,"source":{"path":"file:///C%3A/my%20src/a.go"},"line":11}]}`,
			`{"category":"console","output":"at C:\\my src\\a.go:12","source":{"path":"file:///C%3A/my%20src/a.go"},"line":11}`},
	} {
		t.Run(c.form, func(t *testing.T) {
			n := newNode(t)
			n.paths = m
			i := serve(t, Config{Dialer: n}).dialIDE()
			i.expectResponse(i.request("initialize", c.form), "initialize")
			seq := i.request("attach", `{"line":7,"source":{"path":"C:\\my src\\a.go"}}`)
			s := n.nextSession()
			if attach := s.accept(); !strings.Contains(attach.raw, `"line":7`) || !strings.Contains(attach.raw, `C:\\my src`) {
				t.Errorf("the IDE's own configuration was rewritten: %s", attach.raw)
			}
			i.expect("event", "initialized")
			i.expectResponse(seq, "attach")

			seq = i.request("setBreakpoints", c.request)
			set := s.expect("request", "setBreakpoints")
			if want := `{"source":{"path":"/build/a.go"},"breakpoints":[{"line":12,"column":3}]}`; string(set.Arguments) != want {
				t.Errorf("Delve gets  %s\nwant %s", set.Arguments, want)
			}
			s.respond(set, `{"breakpoints":[{"verified":true,"source":{"path":"/build/a.go"},"line":12}]}`)
			if got := i.expectResponse(seq, "setBreakpoints"); string(got.Body) != c.response {
				t.Errorf("the IDE gets %s\nwant %s", got.Body, c.response)
			}
			s.event("output", `{"category":"console","output":"at /build/a.go:12","source":{"path":"/build/a.go"},"line":12}`)
			if got := i.expect("event", "output"); string(got.Body) != c.event {
				t.Errorf("the IDE gets %s\nwant %s", got.Body, c.event)
			}
		})
	}
}

// The result of an expression is one of the target's values and stays as it is; paths
// in the output of Delve's own commands are mapped.
func TestEvaluatedPaths(t *testing.T) {
	m, err := pathmap.New(pathmap.Rule{Host: "/host", Node: "/node"})
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	n.paths = m
	i := serve(t, Config{Dialer: n}).dialIDE()
	s := i.attach(n)
	for expression, want := range map[string]string{
		"file":           `{"result":"/node/a.go"}`,
		"dlv sources":    `{"result":"/host/a.go"}`,
		" dlv sources a": `{"result":"/host/a.go"}`,
		"dlvx":           `{"result":"/node/a.go"}`,
	} {
		seq := i.request("evaluate", `{"expression":"`+expression+`"}`)
		s.respond(s.expect("request", "evaluate"), `{"result":"/node/a.go"}`)
		if got := i.expectResponse(seq, "evaluate"); string(got.Body) != want {
			t.Errorf("%q gives %s, want %s", expression, got.Body, want)
		}
	}
}
