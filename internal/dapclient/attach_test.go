package dapclient

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-dap"
)

const allKinds = `{"supportsFunctionBreakpoints":true,"supportsInstructionBreakpoints":true,"supportsDataBreakpoints":true}`

func TestAttachInVSCodesOrder(t *testing.T) {
	c, p := newPair(t)
	var attachArgs, points string
	go func() {
		p.respond(p.expect("initialize"), allKinds)
		attach := p.expect("attach")
		attachArgs = string(attach.Arguments)
		p.event("initialized", "{}") // and no response yet
		r := p.expect("setBreakpoints")
		points = string(r.Arguments)
		p.respond(r, `{"breakpoints":[{"id":1,"verified":true,"line":60}]}`)
		p.respond(p.expect("setBreakpoints"), `{"breakpoints":[{"verified":false,"message":"no"}]}`)
		f, i := p.expect("setFunctionBreakpoints"), p.expect("setInstructionBreakpoints")
		e, d := p.expect("setExceptionBreakpoints"), p.expect("setDataBreakpoints")
		p.respond(d, `{}`)
		p.respond(e, `{}`)
		p.respond(i, `{}`)
		p.respond(f, `{"breakpoints":[{"id":2,"verified":true}]}`)
		p.respond(p.expect("configurationDone"), `{}`)
		p.respond(attach, `{}`)
		p.respond(p.expect("threads"), `{"threads":[]}`)
	}()
	got, err := c.Attach(shortContext(t), AttachOptions{
		Args:        map[string]any{"processId": 7, "name": "mine"},
		Breakpoints: map[string][]int{"/b.go": nil, "/a.go": {60}},
		Functions:   []string{"main.main"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]dap.Breakpoint{
		"/a.go":     {{Id: 1, Verified: true, Line: 60}},
		"/b.go":     {{Message: "no"}},
		"main.main": {{Id: 2, Verified: true}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got the breakpoints %+v, want %+v", got, want)
	}
	if !strings.Contains(attachArgs, `"mode":"remote","name":"mine","processId":7`) {
		t.Errorf("attach has the arguments %s", attachArgs)
	}
	for _, want := range []string{`"source":{"name":"a.go","path":"/a.go"}`, `"breakpoints":[{"line":60}],"lines":[60]`} {
		if !strings.Contains(points, want) {
			t.Errorf("setBreakpoints has the arguments %s, want %s in them", points, want)
		}
	}
}

func TestAttachRefused(t *testing.T) {
	c, p := newPair(t)
	go func() {
		p.respond(p.expect("initialize"), `{}`)
		r := p.expect("attach")
		p.send(`"type":"response","request_seq":%d,"success":false,"command":"attach","message":"session busy"`, r.Seq)
	}()
	_, err := c.Attach(shortContext(t), AttachOptions{})
	var refused *Error
	if !errors.As(err, &refused) || refused.Text != "session busy" {
		t.Errorf("error %v", err)
	}
}

func TestAttachUsesOnlySupportedRequests(t *testing.T) {
	c, p := newPair(t)
	go func() {
		p.respond(p.expect("initialize"), `{}`)
		attach := p.expect("attach")
		p.respond(attach, `{}`)
		p.event("initialized", "{}")
		p.respond(p.expect("setExceptionBreakpoints"), `{}`)
		p.respond(p.expect("configurationDone"), `{}`)
		p.respond(p.expect("threads"), `{"threads":[]}`)
	}()
	got, err := c.Attach(shortContext(t), AttachOptions{})
	if err != nil || !reflect.DeepEqual(got, map[string][]dap.Breakpoint{}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSessionCommands(t *testing.T) {
	c, p := newPair(t)
	go func() {
		for _, command := range []string{"next", "stepIn", "stepOut", "continue", "pause"} {
			r := p.expect(command)
			if string(r.Arguments) != `{"threadId":3}` {
				t.Errorf("%s %s", command, r.Arguments)
			}
			p.respond(r, "{}")
		}
		p.event("stopped", `{"reason":"pause","threadId":3}`)
		p.respond(p.expect("stackTrace"), `{"stackFrames":[{"id":1000,"name":"f","line":1,"column":0}],"totalFrames":9}`)
		p.respond(p.expect("scopes"), `{"scopes":[{"name":"Locals","variablesReference":5,"expensive":false}]}`)
		p.respond(p.expect("variables"), `{"variables":[{"name":"r","value":"1","variablesReference":0}]}`)
		p.respond(p.expect("variables"), `[]`)
		r := p.expect("disconnect")
		if string(r.Arguments) != `{"restart":false,"terminateDebuggee":true}` {
			t.Errorf("disconnect %s", r.Arguments)
		}
		p.respond(r, "{}")
	}()
	ctx := shortContext(t)
	for _, f := range []func() error{
		func() error { return c.Next(ctx, 3) },
		func() error { return c.StepIn(ctx, 3) },
		func() error { return c.StepOut(ctx, 3) },
		func() error { return c.Continue(ctx, 3) },
		func() error { return c.Pause(ctx, 3) },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	if stop, err := c.WaitStopped(ctx); err != nil || stop.ThreadId != 3 {
		t.Errorf("%+v, %v", stop, err)
	}
	if frames, total, err := c.StackTrace(ctx, 3, 0, 1); err != nil || total != 9 || frames[0].Id != 1000 {
		t.Errorf("%+v, %d, %v", frames, total, err)
	}
	if scopes, err := c.Scopes(ctx, 1000); err != nil || scopes[0].VariablesReference != 5 {
		t.Errorf("%+v, %v", scopes, err)
	}
	if vars, err := c.Variables(ctx, 5); err != nil || vars[0].Name != "r" {
		t.Errorf("%+v, %v", vars, err)
	}
	if _, err := c.Variables(ctx, 5); err == nil || !strings.Contains(err.Error(), "read the response to variables") {
		t.Errorf("a body of the wrong shape: %v", err)
	}
	if err := c.Disconnect(ctx, true); err != nil {
		t.Error(err)
	}
}
