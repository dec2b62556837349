package link_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/link"
)

const validHello = `{"protocol":1,"version":"v1","os":"linux","arch":"amd64","pid":7,"socket":"@s","capabilities":{},"targetError":{"code":"target-none","summary":"none"}}`

// nobody is an agent's standard input that must not be written to.
type noWriter struct{ t *testing.T }

func (n noWriter) Write(p []byte) (int, error) {
	n.t.Errorf("the daemon wrote %q to an agent that it does not know", p)
	return len(p), nil
}

func (noWriter) Close() error { return nil }

func TestConnectRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, hello string
		code        diag.Code
		want        string
	}{
		{"nothing", "", diag.AgentProtocol, "EOF"},
		{"half a line", validHello, diag.AgentProtocol, "EOF"},
		{"garbage", "Last login: yesterday\n", diag.AgentProtocol, "no JSON"},
		{"another kind of JSON", "[]\n", diag.AgentProtocol, "no JSON"},
		{"an older protocol", strings.Replace(validHello, `"protocol":1`, `"protocol":0`, 1) + "\n", diag.AgentProtocol, "the agent speaks protocol 0, this program 1"},
		{"a newer protocol", strings.Replace(validHello, `"protocol":1`, `"protocol":2`, 1) + "\n", diag.AgentProtocol, "the agent speaks protocol 2, this program 1"},
		{"another system", strings.Replace(validHello, "linux", "plan9", 1) + "\n", diag.NodePlatform, `"plan9"`},
		{"no capabilities", strings.Replace(validHello, `,"capabilities":{}`, "", 1) + "\n", diag.AgentProtocol, "lacks"},
		{"no target and no reason", strings.Replace(validHello, `,"targetError":{"code":"target-none","summary":"none"}`, "", 1) + "\n", diag.AgentProtocol, "neither a target"},
		{"no socket", strings.Replace(validHello, `"socket":"@s",`, "", 1) + "\n", diag.AgentProtocol, "lacks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := link.Connect(strings.NewReader(tt.hello), noWriter{t}, link.Timing{Lease: time.Minute}, link.Events{})
			if c != nil || diag.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v (%s), want %s: …%s…", err, diag.CodeOf(err), tt.code, tt.want)
			}
		})
	}
}

// A first line without an end is not gathered for ever.
func TestConnectRefusesALongLine(t *testing.T) {
	endless := &endlessLine{}
	_, err := link.Connect(endless, noWriter{t}, link.Timing{Lease: time.Minute}, link.Events{})
	if diag.CodeOf(err) != diag.AgentProtocol || endless.n > 16<<20 {
		t.Errorf("%v after %d bytes", err, endless.n)
	}
}

// counter is an endless line.
type endlessLine struct{ n int }

func (c *endlessLine) Read(p []byte) (int, error) {
	c.n += len(p)
	copy(p, bytes.Repeat([]byte("x"), len(p)))
	return len(p), nil
}

// agentEnd is a link from both sides: what the Client writes comes out of
// requests, and what is written to answers reaches it.
type testLink struct {
	*link.Client
	requests io.Reader
	answers  io.WriteCloser
}

func connect(t *testing.T, lease time.Duration, ev link.Events) testLink {
	t.Helper()
	fromAgent, answers := io.Pipe()
	requests, toAgent := io.Pipe()
	go io.WriteString(answers, validHello+"\n")
	c, err := link.Connect(fromAgent, toAgent, link.Timing{Lease: lease}, ev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		answers.Close()
		requests.Close()
		c.Close()
	})
	return testLink{c, requests, answers}
}

func TestLinkIsLost(t *testing.T) {
	for name, lose := range map[string]func(testLink){
		"end":       func(a testLink) { a.answers.Close() },
		"garbage":   func(a testLink) { io.WriteString(a.answers, "Segmentation fault\n"); a.answers.Close() },
		"long line": func(a testLink) { go a.answers.Write(bytes.Repeat([]byte("x"), 9<<20)) },
		"silence":   func(testLink) {},
	} {
		t.Run(name, func(t *testing.T) {
			a := connect(t, 200*time.Millisecond, link.Events{})
			go io.Copy(io.Discard, a.requests)
			start := time.Now()
			lose(a)
			if _, err := a.Target(context.WithoutCancel(t.Context())); !errors.Is(err, &diag.Error{Code: diag.LinkLost}) {
				t.Errorf("a call over the lost link: %v", err)
			}
			<-a.Lost()
			if took := time.Since(start); name == "silence" && took < 200*time.Millisecond || took > 5*time.Second {
				t.Errorf("lost after %s", took)
			}
		})
	}
}

// TestAgentThatDoesNotRead has the agent talk without end and read nothing: a
// call waits for no longer than its caller, and what is not read piles up
// nowhere.
func TestAgentThatDoesNotRead(t *testing.T) {
	a := connect(t, time.Minute, link.Events{Log: func(api.LogLine) { time.Sleep(time.Millisecond) }})
	var told atomic.Int64
	go func() {
		line := []byte(`{"jsonrpc":"2.0","method":"log","params":{"text":"` + strings.Repeat("x", 1000) + `"}}` + "\n")
		for {
			n, err := a.answers.Write(line)
			if told.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	goroutines := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for range 3 {
		if _, err := a.Target(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that is not read: %v", err)
		}
	}
	if now := runtime.NumGoroutine(); now > goroutines+20 {
		t.Errorf("%d goroutines before, %d now", goroutines, now)
	}
	if told.Load() > 10<<20 {
		t.Errorf("took %d bytes from an agent that is not heard", told.Load())
	}
}

// TestLastWord has the agent answer and leave at once, as it does when it is
// released: the answer counts.
func TestLastWord(t *testing.T) {
	for range 200 {
		a := connect(t, time.Minute, link.Events{})
		go func() {
			a.requests.Read(make([]byte, 4096))
			io.WriteString(a.answers, `{"jsonrpc":"2.0","id":1,"result":null}`+"\n")
			a.answers.Close()
		}()
		if err := a.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzLink has an agent say anything: first lines and answers.
func FuzzLink(f *testing.F) {
	for _, text := range []string{
		validHello + "\n",
		validHello + "\n" + `{"jsonrpc":"2.0","id":1,"result":[{"process":{"pid":1},"build":{}}]}` + "\n",
		validHello + "\n" + `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":{"code":"c","summary":"s"}}}` + "\n",
		validHello + "\n" + `{"jsonrpc":"2.0","id":1,"result":[null]}` + "\n" + `{"method":"log","params":{}}` + "\n",
		`{"protocol":1,"os":"linux","socket":"s","capabilities":[],"target":{"build":null}}` + "\n" + `[{"id":1}]` + "\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		// The stream ends when all is said, and not before the first question.
		stream, end := io.Pipe()
		asked, questions := io.Pipe()
		go func() {
			line, rest, _ := bytes.Cut(said, []byte("\n"))
			end.Write(append(line, '\n'))
			asked.Read(make([]byte, 1))
			end.Write(rest)
			end.Close()
			io.Copy(io.Discard, asked)
		}()
		c, err := link.Connect(stream, questions, link.Timing{Lease: time.Minute}, link.Events{})
		defer asked.Close()
		defer stream.Close()
		if err != nil {
			if diag.CodeOf(err) == diag.Internal {
				t.Errorf("refused without a code: %v", err)
			}
			return
		}
		defer c.Close()
		defer stream.Close()
		list, err := c.List(t.Context())
		if err == nil {
			for _, found := range list {
				_ = found.Build.GoVersion
			}
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
		if h := c.Hello(); h.Target == nil && h.TargetError == nil {
			t.Error("neither a target nor a reason")
		}
	})
}

func TestErrorsKeepTheirCode(t *testing.T) {
	a := connect(t, time.Minute, link.Events{})
	go func() {
		buf := make([]byte, 4096)
		a.requests.Read(buf)
		io.WriteString(a.answers, `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m","data":{"code":"target-stripped","summary":"no debug information","hint":"build it so"}}}`+"\n")
		a.requests.Read(buf)
		io.WriteString(a.answers, `{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"no such method"}}`+"\n")
	}()
	_, err := a.Target(t.Context())
	if !errors.Is(err, &diag.Error{Code: diag.TargetStripped}) || err.Error() != "no debug information" || diag.Hint(err) != "build it so" {
		t.Errorf("%#v", err)
	}
	if _, err := a.Target(t.Context()); diag.CodeOf(err) != diag.Internal || !strings.Contains(err.Error(), "no such method") {
		t.Errorf("%v", err)
	}
}

// TestSourcesOfAHostileNode unpacks what is no gzip, no JSON, or too much.
func TestSourcesOfAHostileNode(t *testing.T) {
	pack := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, text)
		z.Close()
		return b.Bytes()
	}
	for name, packed := range map[string][]byte{
		"no gzip": []byte("dirs"),
		"cut":     pack(`{"dirs":[]}`)[:20],
		"no JSON": pack("dirs"),
		"a bomb":  pack(`{"dirs":[` + strings.Repeat(" ", 65<<20) + `]}`),
	} {
		a := connect(t, time.Minute, link.Events{})
		go func() {
			a.requests.Read(make([]byte, 4096))
			fmt.Fprintf(a.answers, `{"jsonrpc":"2.0","id":1,"result":{"packed":"%s"}}`+"\n", base64.StdEncoding.EncodeToString(packed))
		}()
		if _, err := a.Sources(t.Context(), api.Target{}); diag.CodeOf(err) != diag.AgentProtocol {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEvents(t *testing.T) {
	logs, ends := make(chan api.LogLine, 1), make(chan api.Ended, 1)
	a := connect(t, time.Minute, link.Events{
		Log:   func(l api.LogLine) { logs <- l },
		Ended: func(e api.Ended) { ends <- e },
	})
	for _, line := range []string{
		`{"jsonrpc":"2.0","method":"log","params":{"level":"debug","text":"hello"}}`,
		`{"jsonrpc":"2.0","method":"unknown","params":{}}`,
		`{"jsonrpc":"2.0","method":"ended","params":[1]}`,
		`{"jsonrpc":"2.0","method":"ended","params":{"reason":"over","lingers":true}}`,
	} {
		io.WriteString(a.answers, line+"\n")
	}
	if l := <-logs; l.Text != "hello" {
		t.Errorf("log: %+v", l)
	}
	if e := <-ends; e.Reason != "over" || !e.Lingers {
		t.Errorf("ended: %+v", e)
	}
}
