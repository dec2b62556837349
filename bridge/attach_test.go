package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/pathmap"
)

// Whatever an IDE wants to start, Delve gets a remote attach, with the other arguments
// unchanged.
func TestAttachIsAlwaysRemote(t *testing.T) {
	for _, c := range []struct{ command, args, want string }{
		{"attach", ``, `{"hideSystemGoroutines":true,"mode":"remote"}`},
		{"attach", `null`, `{"hideSystemGoroutines":true,"mode":"remote"}`},
		{"attach", `{}`, `{"hideSystemGoroutines":true,"mode":"remote"}`},
		{"attach", `{"mode":"remote","hideSystemGoroutines":false}`, `{"mode":"remote","hideSystemGoroutines":false}`},
		{"attach", `{"mode":"local","processId":4711}`, `{"hideSystemGoroutines":true,"mode":"remote"}`},
		{"attach", `{"mode":"local","waitFor":"containerd","x":1}`, `{"hideSystemGoroutines":true,"mode":"remote","x":1}`},
		{"attach", `{"request":"attach","mode":"remote","stopOnEntry":true}`, `{"hideSystemGoroutines":true,"request":"attach","mode":"remote","stopOnEntry":true}`},
		{"attach", `{"substitutePath":[],"guessSubstitutePath":{"importPathOfMainPackage":"x"}, "mode":"remote"}`, `{"hideSystemGoroutines":true,"mode":"remote"}`},
		{"attach", `{"followExec":true,"followExecRegex":".*","mode":"remote"}`, `{"hideSystemGoroutines":true,"mode":"remote"}`},
		{"attach", `{"Mode":"local","MODE":"exec","GuessSubstitutePath":{},"SUBSTITUTEPATH":null,"hidesystemgoroutines":false}`,
			`{"mode":"remote","hidesystemgoroutines":false}`},
		{"attach", `{ "mode" : "x","mode":"local", "n":[1e3, -0,1.0 ],"s":"\u0041\/" }`, `{"hideSystemGoroutines":true,"mode":"remote", "n":[1e3, -0,1.0 ],"s":"\u0041\/" }`},
		{"launch", ``, `{"hideSystemGoroutines":true,"mode":"remote"}`},
		{"launch", `{"mode":"debug","request":"launch","program":"${file}","stackTraceDepth":20}`, `{"hideSystemGoroutines":true,"mode":"remote","request":"attach","program":"${file}","stackTraceDepth":20}`},
		{"launch", `{"mode":"test","program":"."}`, `{"hideSystemGoroutines":true,"mode":"remote","program":"."}`},
		{"launch", `{"mode":"exec","program":"/bin/sh","args":["-c","x"]}`, `{"hideSystemGoroutines":true,"mode":"remote","program":"/bin/sh","args":["-c","x"]}`},
		{"launch", `{"mode":"core","coreFilePath":"/core"}`, `{"hideSystemGoroutines":true,"mode":"remote","coreFilePath":"/core"}`},
		{"launch", `{"mode":"replay","traceDirPath":"/t"}`, `{"hideSystemGoroutines":true,"mode":"remote","traceDirPath":"/t"}`},
	} {
		t.Run(c.command+c.args, func(t *testing.T) {
			n := newNode(t)
			i := serve(t, Config{Dialer: n}).dialIDE()
			i.initialize()
			seq := i.request(c.command, c.args)
			got := n.nextSession().accept()
			i.expect("event", "initialized")
			i.expectResponse(seq, c.command)
			if compact(t, got.Arguments) != compact(t, []byte(c.want)) {
				t.Errorf("Delve gets\n%s, want\n%s", got.Arguments, c.want)
			}
			if len(got.Arguments) != len(c.want) {
				t.Errorf("Delve gets other bytes:\n%s, want those of\n%s", got.Arguments, c.want)
			}
		})
	}
}

// Delve's error reaches the IDE as a response to the command that the IDE sent.
func TestAttachThatDelveRefuses(t *testing.T) {
	n := newNode(t)
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.initialize()
	seq := i.request("launch", `{"mode":"debug"}`)
	s := n.nextSession()
	s.expect("request", "initialize")
	attach := s.expect("request", "attach")
	s.send(fmt.Sprintf(`{"seq":9,"type":"response","request_seq":%d,"success":false,"command":"attach","message":"Failed to attach"}`, attach.Seq))
	want := fmt.Sprintf(`{"seq":2,"type":"response","request_seq":%d,"success":false,"command":"launch","message":"Failed to attach"}`, seq)
	if got := i.next(); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	i.disconnect()
	s.waitEnded()
}

// If the bridge's own initialize fails, that is logged and does not reach the IDE.
func TestInitializeThatTheNodeRefuses(t *testing.T) {
	n := newNode(t)
	srv := serve(t, Config{Dialer: n})
	i := srv.dialIDE()
	i.initialize()
	i.request("attach", "{}")
	s := n.nextSession()
	s.send(fmt.Sprintf(`{"seq":1,"type":"response","request_seq":%d,"success":false,"command":"initialize","message":"no"}`, s.expect("request", "initialize").Seq))
	s.expect("request", "attach")
	srv.waitForLog("level=WARN", "the debugger refused initialize")
	i.roundTrip(s)
}

func TestProcessIDOfAnotherProcess(t *testing.T) {
	for _, id := range []string{"4712", `"4712"`, "-4711", "1"} {
		t.Run(id, func(t *testing.T) {
			n := newNode(t)
			i := serve(t, Config{Dialer: n}).dialIDE()
			i.initialize()
			pid := strings.Trim(id, `"`)
			i.expectRefusal(i.request("attach", `{"processId":`+id+`}`), "attach", "processId is "+pid, "serves containerd, pid 4711", "--pid "+pid)
			s := n.nextSession()
			s.waitEnded()
			s.expectEnd() // and nothing was sent
			again := i.request("attach", `{"processId":4711}`)
			s = n.nextSession()
			s.accept()
			i.expect("event", "initialized")
			i.expectResponse(again, "attach")
			i.roundTrip(s)
		})
	}
}

// TestSessionNotes checks that a session's notes appear in the debug console.
func TestSessionNotes(t *testing.T) {
	n := newNode(t)
	n.notice = "fetched the source of example.com/a@v1.0.0"
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.initialize()
	seq := i.request("attach", `{}`)
	n.nextSession().accept()
	i.expectConsole(n.notice)
	i.expect("event", "initialized")
	i.expectResponse(seq, "attach")
}

func TestProcessIDThatSaysNothing(t *testing.T) {
	for _, id := range []string{"0", `"4711"`, "null", `""`, `"${command:pickProcess}"`} {
		t.Run(id, func(t *testing.T) {
			n := newNode(t)
			i := serve(t, Config{Dialer: n}).dialIDE()
			i.initialize()
			seq := i.request("attach", `{"processId":`+id+`}`)
			if got := n.nextSession().accept(); strings.Contains(got.raw, "processId") {
				t.Errorf("Delve gets %s", got.raw)
			}
			i.expect("event", "initialized")
			i.expectResponse(seq, "attach")
		})
	}
}

// A configuration that can't be served ends the session on the node, and the
// IDE may try again.
func TestAttachThatIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, args, text string
		dialed           bool
	}{
		{"relative substitutePath", `{"substitutePath":[{"from":"src","to":"/x"}]}`, "remove substitutePath from launch.json", true},
		{"substitutePath of another shape", `{"substitutePath":{"/a":"/b"}}`, "correct launch.json", false},
		{"arguments of another shape", `[]`, "correct launch.json", false},
		{"too large for Delve", `{"x":"` + strings.Repeat("x", delveMaxBody) + `"}`, "Delve accepts at most 4194304", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			i := serve(t, Config{Dialer: n}).dialIDE()
			i.initialize()
			i.expectRefusal(i.request("attach", c.args), "attach", c.text)
			if c.dialed {
				s := n.nextSession()
				s.waitEnded()
				s.expectEnd()
			}
			seq := i.request("attach", "{}")
			s := n.nextSession()
			s.accept()
			i.expect("event", "initialized")
			i.expectResponse(seq, "attach")
			i.roundTrip(s)
		})
	}
}

// If the end of a refused session fails too, both errors are reported.
func TestRefusedAttachThatDoesNotEnd(t *testing.T) {
	n := newNode(t)
	n.end = func(context.Context) error { return errors.New("the target was not released") }
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.initialize()
	i.expectRefusal(i.request("attach", `{"processId":1}`), "attach", "processId is 1", "the target was not released")
}

func TestDialFails(t *testing.T) {
	n := newNode(t)
	n.dial = func(context.Context) error {
		if n.dials.Load() > 1 {
			return nil
		}
		return diag.Errorf(diag.TargetTraced, "\x1b[31mcontainerd is traced by gdb")
	}
	srv := serve(t, Config{Dialer: n})
	i := srv.dialIDE()
	i.initialize()
	i.expectRefusal(i.request("attach", "{}"), "attach", `\x1b[31mcontainerd is traced by gdb (`)
	srv.waitForLog("level=WARN", "attach failed", "traced by gdb")
	other := srv.dialIDE() // the slot is free
	other.attach(n)
	other.disconnect()
	seq := i.request("attach", "{}")
	n.nextSession().accept()
	i.expect("event", "initialized")
	i.expectResponse(seq, "attach")
}

// Requests during the attach are queued and sent after it, in order; those that the
// bridge answers itself are answered at once.
func TestBacklog(t *testing.T) {
	n := newNode(t)
	release := make(chan struct{})
	n.dial = func(context.Context) error { <-release; return nil }
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.initialize()
	attach := i.request("attach", "{}")
	var seqs []int
	for k := range 5 {
		seqs = append(seqs, i.request(fmt.Sprintf("x%d", k), fmt.Sprintf(`{"source":{"path":"/a.go"},"n":%d.0}`, k)))
	}
	large := i.request("x", `"`+strings.Repeat("x", delveMaxBody)+`"`)
	seqs = append(seqs, i.request("x5", ""))
	restart := i.request("restart", "")
	i.expectConsole("the target belongs to the node")
	i.expectRefusal(restart, "restart")
	i.expectRefusal(i.request("attach", "{}"), "attach", "attach only once")
	close(release)
	i.expectRefusal(large, "x", "Delve accepts")
	s := n.nextSession()
	s.accept()
	var got []parsedMessage
	for k := range seqs {
		got = append(got, s.expect("request", fmt.Sprintf("x%d", k)))
	}
	if string(got[4].Arguments) != `{"source":{"path":"/a.go"},"n":4.0}` {
		t.Errorf("the node got %s", got[4].raw)
	}
	i.expect("event", "initialized")
	i.expectResponse(attach, "attach")
	for k, m := range got {
		s.respond(m, "")
		i.expectResponse(seqs[k], m.Command)
	}
	i.roundTrip(s)
}

// Requests that waited for a failing attach are answered.
func TestBacklogOfAnAttachThatFails(t *testing.T) {
	n := newNode(t)
	release := make(chan struct{})
	n.dial = func(context.Context) error {
		if n.dials.Load() == 1 {
			<-release
			return errors.New("the kernel says no")
		}
		return nil
	}
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.initialize()
	attach := i.request("attach", "{}")
	a, b := i.request("threads", ""), i.request("configurationDone", "")
	i.expectRefusal(i.request("attach", "{}"), "attach", "attach only once") // so the requests before it have been read
	close(release)
	i.expectRefusal(attach, "attach", "the kernel says no")
	i.expectRefusal(a, "threads", "the attach failed")
	i.expectRefusal(b, "configurationDone", "the attach failed")
	seq := i.request("attach", "{}")
	s := n.nextSession()
	s.accept()
	i.expect("event", "initialized")
	i.expectResponse(seq, "attach")
	i.roundTrip(s) // nothing is left of the old backlog
}

// The bridge applies the IDE's substitutePath, once.
func TestSubstitutePath(t *testing.T) {
	for _, c := range []struct{ name, sub, ide, node string }{
		{"none", `[]`, "/host/src/a.go", "/node/src/a.go"},
		{"repeats the rule", `[{"from":"/host/src","to":"/node/src"}]`, "/host/src/a.go", "/node/src/a.go"},
		{"of another tree", `[{"from":"/other","to":"/node/other"}]`, "/other/a.go", "/node/other/a.go"},
		{"before the rule", `[{"from":"/host/src","to":"/elsewhere"}]`, "/host/src/a.go", "/elsewhere/a.go"},
		{"an IDE in a container", `[{"from":"/workspace","to":"/host/src"}]`, "/workspace/a.go", "/node/src/a.go"},
		{"trimmed paths", `[{"from":"/gopath/mod","to":""}]`, "/gopath/mod/example.com/m@v1.0.0/a.go", "example.com/m@v1.0.0/a.go"},
		{"Windows", `[{"from":"C:\\src","to":"/node/w"}]`, `C:\\src\\a.go`, "/node/w/a.go"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := pathmap.New(pathmap.Rule{Host: "/host/src", Node: "/node/src"})
			if err != nil {
				t.Fatal(err)
			}
			n := newNode(t)
			n.paths = m
			i := serve(t, Config{Dialer: n}).dialIDE()
			i.initialize()
			seq := i.request("attach", `{"substitutePath":`+c.sub+`}`)
			s := n.nextSession()
			s.accept()
			i.expect("event", "initialized")
			i.expectResponse(seq, "attach")

			source := func(path string) string { return `{"source":{"path":"` + path + `"}}` }
			seq = i.request("setBreakpoints", source(c.ide))
			got := s.expect("request", "setBreakpoints")
			if string(got.Arguments) != source(c.node) {
				t.Errorf("the node got %s, want %s", got.Arguments, source(c.node))
			}
			s.respond(got, source(c.node))
			if back := i.expectResponse(seq, "setBreakpoints"); string(back.Body) != source(c.ide) {
				t.Errorf("the IDE got %s, want %s", back.Body, source(c.ide))
			}
			s.event("breakpoint", source(c.node))
			if back := i.expect("event", "breakpoint"); string(back.Body) != source(c.ide) {
				t.Errorf("the IDE got %s, want %s", back.Body, source(c.ide))
			}
		})
	}
}
