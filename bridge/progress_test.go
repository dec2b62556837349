package bridge

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestSymbolsSetting checks that the configuration's attribute "symbols" reaches the dialer and
// not the debugger, and that the IDE gets the progress.
func TestSymbolsSetting(t *testing.T) {
	n := newNode(t)
	n.target.Note = "optimised\x1b"
	n.onDial = func(w DialOptions) {
		if w.Symbols != "auto" {
			t.Errorf("the wish: %+v", w)
		}
		w.Progress(Progress{Text: "building"})
		w.Progress(Progress{Text: "building", Done: 1, Total: 4}) // too soon
		w.Progress(Progress{Text: "proving\x1b", Done: 3, Total: 4})
	}
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.expectResponse(i.request("initialize", strings.Replace(initializeArgs, "{", `{"supportsProgressReporting":true,`, 1)), "initialize")
	attach := i.request("attach", `{"symbols":"auto","x":1}`)
	for _, want := range []string{
		"progressStart {\"message\":\"building\",\"progressId\":\"dapbridge\",\"title\":\"dapbridge\"}",
		"progressUpdate {\"message\":\"proving\\\\x1b\",\"percentage\":75,\"progressId\":\"dapbridge\"}",
		"progressEnd {\"progressId\":\"dapbridge\"}",
	} {
		m := parse(t, i.next())
		if got := m.Event + " " + string(m.Body); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	s := n.nextSession()
	s.next() // initialize
	m := parse(t, s.next())
	var args map[string]any
	if err := json.Unmarshal(m.Arguments, &args); err != nil || args["symbols"] != nil || args["x"] != 1.0 {
		t.Errorf("the debugger gets %s (%v)", m.raw, err)
	}
	i.expectConsole(`optimised\x1b`)
	_ = attach
}

// TestProgressInTheConsole attaches with an IDE that cannot show progress.
func TestProgressInTheConsole(t *testing.T) {
	n := newNode(t)
	n.onDial = func(w DialOptions) {
		w.Progress(Progress{Text: "building"})
		w.Progress(Progress{Text: "building", Done: 1, Total: 4})
		w.Progress(Progress{Text: "proving"})
	}
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.expectResponse(i.request("initialize", initializeArgs), "initialize")
	i.request("attach", "{}")
	i.expectConsole("building")
	i.expectConsole("proving")
}

func TestInvalidSymbolsAreRefused(t *testing.T) {
	n := newNode(t)
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.expectResponse(i.request("initialize", initializeArgs), "initialize")
	i.request("attach", `{"symbols":"always"}`)
	m := i.expect("response", "attach")
	if *m.Success || !strings.Contains(m.Message, "ask, auto, never or refuse") {
		t.Errorf("got %s, want a refusal that names the choices", m.raw)
	}
	if got := n.dials.Load(); got != 0 {
		t.Errorf("%d dials, want none", got)
	}
}
