package bridge

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dapbridge/dapbridge/pathmap"
)

const staleText = `a.go is not what containerd was built from: build "it" again`

// A stale file is reported in the breakpoints' messages, and once in the console.
func TestStaleFile(t *testing.T) {
	n := newNodeWithSources(t, &scriptedSources{
		host:  map[string]bool{"/host/a.go": true, "/host/b.go": true},
		stale: map[string]string{"/host/a.go /node/a.go": staleText},
	})
	i := serve(t, Config{Dialer: n}).dialIDE()
	s := i.attach(n)
	set := func(file, response string) int {
		seq := i.request("setBreakpoints", `{"source":{"path":"`+file+`"},"breakpoints":[{"line":3},{"line":4}]}`)
		s.respond(s.expect("request", "setBreakpoints"), response)
		return seq
	}
	const response = `{"breakpoints":[{"id":1,"verified":true,"source":{"path":"/node/a.go"},"line":3},{"verified":false,"message":"no code at /node/a.go:4"}],"x":[1]}`
	quoted := strings.ReplaceAll(staleText, `"`, `\"`)
	want := `{"breakpoints":[{"message":"` + quoted + `","id":1,"verified":true,"source":{"path":"/host/a.go"},"line":3},{"verified":false,"message":"no code at /host/a.go:4; ` + quoted + `"}],"x":[1]}`
	seq := set("/host/a.go", response)
	i.expectConsole(staleText)
	if got := i.expectResponse(seq, "setBreakpoints"); string(got.Body) != want {
		t.Errorf("got  %s\nwant %s", got.Body, want)
	}
	if got := i.expectResponse(set("/host/a.go", response), "setBreakpoints"); string(got.Body) != want {
		t.Errorf("the second time: %s", got.Body)
	}
	fresh := strings.ReplaceAll(response, "/node/a.go", "/node/b.go")
	if got := i.expectResponse(set("/host/b.go", fresh), "setBreakpoints"); string(got.Body) != strings.ReplaceAll(fresh, "/node/", "/host/") {
		t.Errorf("of an unchanged file: %s", got.Body)
	}
	// A response without breakpoints gets no message.
	for _, odd := range []string{`{}`, `{"breakpoints":7}`, `{"breakpoints":[]}`} {
		if got := i.expectResponse(set("/host/a.go", odd), "setBreakpoints"); string(got.Body) != odd {
			t.Errorf("%s becomes %s", odd, got.Body)
		}
	}
}

// A late verdict delays the response for a while, and nothing else.
func TestLateVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sources := &scriptedSources{stale: map[string]string{"/host/a.go /node/a.go": staleText}, verdict: make(chan struct{})}
		n := newNodeWithSources(t, sources)
		i := servePiped(t, Config{Dialer: n}).dialIDE()
		s := i.attach(n)
		seq := i.request("setBreakpoints", `{"source":{"path":"/host/a.go"},"breakpoints":[{"line":3}]}`)
		s.respond(s.expect("request", "setBreakpoints"), `{"breakpoints":[{"verified":true}]}`)
		i.roundTrip(s)
		if got := i.expectResponse(seq, "setBreakpoints"); string(got.Body) != `{"breakpoints":[{"verified":true}]}` {
			t.Errorf("got %s", got.Body)
		}
		close(sources.verdict)
		i.expectConsole(staleText)
	})
}

// For JSON-RPC clients a stale file is reported in the log.
func TestRPCStaleFile(t *testing.T) {
	n := newNodeWithSources(t, &scriptedSources{
		host:  map[string]bool{"/host/a.go": true},
		stale: map[string]string{"/host/a.go /node/a.go": staleText},
	})
	srv := serve(t, Config{Dialer: n})
	w := srv.dialRPC()
	node, _ := attachRPC(w, n)
	for _, file := range []string{"/host/a.go", "/host/b.go", "/host/a.go"} {
		w.send(rpcRequest("1", "CreateBreakpoint", `{"Breakpoint":{"file":"`+file+`","line":3}}`))
		node.next()
		node.send(`{"id":1,"result":{},"error":null}`)
		w.expect(`{"id":1,"result":{},"error":null}`)
	}
	srv.waitForLog("level=WARN", "a.go is not what containerd was built from")
	if n := strings.Count(srv.log.String(), "is not what containerd was built from"); n != 1 {
		t.Errorf("%d notes", n)
	}
}

// A late verdict does not delay the end.
func TestVerdictAtTheEnd(t *testing.T) {
	n := newNodeWithSources(t, &scriptedSources{verdict: make(chan struct{})})
	i := serve(t, Config{Dialer: n}).dialIDE()
	s := i.attach(n)
	i.request("setBreakpoints", `{"source":{"path":"/host/a.go"},"breakpoints":[{"line":3}]}`)
	s.respond(s.expect("request", "setBreakpoints"), `{"breakpoints":[{"verified":true}]}`)
	i.roundTrip(s)
	i.conn.Close()
	s.waitEnded()
}

// FuzzWithMessage checks that withMessage changes nothing but messages.
func FuzzWithMessage(f *testing.F) {
	for _, body := range []string{
		`{"body":{"breakpoints":[{"id":1},{"message":"a","Message":"b"},null,7,{}]}}`, `{"body":{"br\u0065akpoints":[{}]}}`,
		`{"body":[]}`, `{}`, `[]`, `{"body":{"breakpoints":{}}}`, `{"body":{"breakpoints":[{}]},"Body":null}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if _, err := scanEnvelope([]byte(body)); err != nil {
			return // no such message is relayed
		}
		if content, ok := member([]byte(body), "body"); ok {
			misnamed := false
			pathmap.ScanMembers(content, func(m pathmap.Member) error {
				misnamed = misnamed || isNamed(m, "breakpoints") && string(m.Name) != "breakpoints"
				return nil
			})
			if misnamed {
				return // the member gets its right name
			}
		}
		out := withMessage([]byte(body), staleText)
		var before, after any
		if err := json.Unmarshal([]byte(body), &before); err != nil {
			return // an unpaired surrogate
		}
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatalf("%q becomes %q: %v", body, out, err)
		}
		withoutMessages(before)
		withoutMessages(after)
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%q becomes %q", body, out)
		}
	})
}

// withoutMessages removes the members that [member] takes for messages.
func withoutMessages(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if strings.EqualFold(name, "message") {
				delete(v, name)
				continue
			}
			withoutMessages(value)
		}
	case []any:
		for _, value := range v {
			withoutMessages(value)
		}
	}
}
