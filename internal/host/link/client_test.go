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

	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const validHello = `{"protocol":1,"version":"v1","os":"linux","arch":"amd64","pid":7,"socket":"@s","capabilities":{},"targetError":{"code":"target-none","summary":"none"}}`

// forbiddenWriter is the standard input of an agent that must not be written to.
type forbiddenWriter struct{ t *testing.T }

func (w forbiddenWriter) Write(p []byte) (int, error) {
	w.t.Errorf("wrote %q to an agent that was refused", p)
	return len(p), nil
}

func (forbiddenWriter) Close() error { return nil }

func TestConnectRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, hello string
		code        diag.Code
		want        string
	}{
		{"nothing", "", diag.AgentProtocol, "EOF"},
		{"half a line", validHello, diag.AgentProtocol, "EOF"},
		{"garbage", "Last login: yesterday\n", diag.AgentProtocol, "not valid JSON"},
		{"another kind of JSON", "[]\n", diag.AgentProtocol, "not valid JSON"},
		{"an older protocol", strings.Replace(validHello, `"protocol":1`, `"protocol":0`, 1) + "\n", diag.AgentProtocol, "the agent speaks protocol 0, this program 1"},
		{"a newer protocol", strings.Replace(validHello, `"protocol":1`, `"protocol":2`, 1) + "\n", diag.AgentProtocol, "the agent speaks protocol 2, this program 1"},
		{"another system", strings.Replace(validHello, "linux", "plan9", 1) + "\n", diag.NodePlatform, `"plan9"`},
		{"no capabilities", strings.Replace(validHello, `,"capabilities":{}`, "", 1) + "\n", diag.AgentProtocol, "lacks"},
		{"no target and no reason", strings.Replace(validHello, `,"targetError":{"code":"target-none","summary":"none"}`, "", 1) + "\n", diag.AgentProtocol, "neither a target"},
		{"no socket", strings.Replace(validHello, `"socket":"@s",`, "", 1) + "\n", diag.AgentProtocol, "lacks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := link.Connect(strings.NewReader(tt.hello), forbiddenWriter{t}, link.Timing{Lease: time.Minute}, link.Events{})
			if c != nil {
				t.Error("got a client")
			}
			checkError(t, err, tt.code, tt.want)
		})
	}
}

// checkError checks the code of an error and that its text contains want.
func checkError(t *testing.T, err error, code diag.Code, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s: …%s…", code, want)
	}
	if got := diag.CodeOf(err); got != code {
		t.Errorf("got code %s, want %s: %v", got, code, err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want …%s…", err, want)
	}
}

// TestConnectRefusesALongLine checks that Connect gives up on a hello that never ends.
func TestConnectRefusesALongLine(t *testing.T) {
	endless := &endlessLine{}
	_, err := link.Connect(endless, forbiddenWriter{t}, link.Timing{Lease: time.Minute}, link.Events{})
	checkError(t, err, diag.AgentProtocol, "")
	if endless.n > 16<<20 {
		t.Errorf("read %d bytes, want at most %d", endless.n, 16<<20)
	}
}

// endlessLine is a line that never ends. It counts the bytes that were read.
type endlessLine struct{ n int }

func (e *endlessLine) Read(p []byte) (int, error) {
	e.n += len(p)
	copy(p, bytes.Repeat([]byte("x"), len(p)))
	return len(p), nil
}

// testLink is a link whose agent the test plays: it reads the Client's requests, and
// writes to answers.
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
	const lease = 200 * time.Millisecond
	for name, lose := range map[string]func(testLink){
		"end":       func(a testLink) { a.answers.Close() },
		"garbage":   func(a testLink) { io.WriteString(a.answers, "Segmentation fault\n"); a.answers.Close() },
		"long line": func(a testLink) { go a.answers.Write(bytes.Repeat([]byte("x"), 9<<20)) },
		"silence":   func(testLink) {},
	} {
		t.Run(name, func(t *testing.T) {
			a := connect(t, lease, link.Events{})
			go io.Copy(io.Discard, a.requests)
			start := time.Now()
			lose(a)
			if _, err := a.Target(context.WithoutCancel(t.Context())); !errors.Is(err, &diag.Error{Code: diag.LinkLost}) {
				t.Errorf("call over a lost link: got %v, want %s", err, diag.LinkLost)
			}
			<-a.Lost()
			took := time.Since(start)
			if took > 5*time.Second {
				t.Errorf("lost after %s", took)
			}
			if name == "silence" && took < lease {
				t.Errorf("lost after %s, before the lease of %s has ended", took, lease)
			}
		})
	}
}

// TestAgentThatDoesNotRead checks an agent that sends notifications without end and reads
// nothing: calls must end with their context, and neither goroutines nor bytes may pile
// up.
func TestAgentThatDoesNotRead(t *testing.T) {
	a := connect(t, time.Minute, link.Events{Log: func(api.LogLine) { time.Sleep(time.Millisecond) }})
	var written atomic.Int64
	go func() {
		line := []byte(`{"jsonrpc":"2.0","method":"log","params":{"text":"` + strings.Repeat("x", 1000) + `"}}` + "\n")
		for {
			n, err := a.answers.Write(line)
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	goroutines := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for range 3 {
		if _, err := a.Target(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call to an agent that does not read: got %v, want %v", err, context.DeadlineExceeded)
		}
	}
	if now := runtime.NumGoroutine(); now > goroutines+20 {
		t.Errorf("%d goroutines before, %d now", goroutines, now)
	}
	if n := written.Load(); n > 10<<20 {
		t.Errorf("read %d bytes of notifications, faster than they are handled", n)
	}
}

// TestAnswerBeforeTheEnd checks an agent that answers and exits at once, as it does when
// it is released: the answer must not be lost.
func TestAnswerBeforeTheEnd(t *testing.T) {
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

// FuzzLink has an agent send anything as its hello and answers.
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
	f.Fuzz(func(t *testing.T, output []byte) {
		// The stream ends after the output, but not before the first request.
		stream, end := io.Pipe()
		requests, toAgent := io.Pipe()
		go func() {
			line, rest, _ := bytes.Cut(output, []byte("\n"))
			end.Write(append(line, '\n'))
			requests.Read(make([]byte, 1))
			end.Write(rest)
			end.Close()
			io.Copy(io.Discard, requests)
		}()
		c, err := link.Connect(stream, toAgent, link.Timing{Lease: time.Minute}, link.Events{})
		defer requests.Close()
		defer stream.Close()
		if err != nil {
			if diag.CodeOf(err) == diag.Internal {
				t.Errorf("got an error without a code: %v", err)
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
			t.Errorf("got an error of several lines: %q", err)
		}
		if h := c.Hello(); h.Target == nil && h.TargetError == nil {
			t.Error("got neither a target nor a reason")
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
	checkError(t, err, diag.TargetStripped, "no debug information")
	if got, want := diag.Hint(err), "build it so"; got != want {
		t.Errorf("got the hint %q, want %q", got, want)
	}
	_, err = a.Target(t.Context())
	checkError(t, err, diag.Internal, "no such method")
}

// TestSourcesOfAHostileNode checks a list of source files that cannot be unpacked.
func TestSourcesOfAHostileNode(t *testing.T) {
	pack := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, text)
		z.Close()
		return b.Bytes()
	}
	for name, packed := range map[string][]byte{
		"not gzip":  []byte("dirs"),
		"truncated": pack(`{"dirs":[]}`)[:20],
		"not JSON":  pack("dirs"),
		"a bomb":    pack(`{"dirs":[` + strings.Repeat(" ", 65<<20) + `]}`),
	} {
		t.Run(name, func(t *testing.T) {
			a := connect(t, time.Minute, link.Events{})
			go func() {
				a.requests.Read(make([]byte, 4096))
				fmt.Fprintf(a.answers, `{"jsonrpc":"2.0","id":1,"result":{"packed":"%s"}}`+"\n", base64.StdEncoding.EncodeToString(packed))
			}()
			_, err := a.Sources(t.Context(), api.Target{})
			checkError(t, err, diag.AgentProtocol, "unpack")
		})
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
	if got, want := <-logs, (api.LogLine{Level: "debug", Text: "hello"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := <-ends, (api.Ended{Reason: "over", Lingers: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
