package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/serve"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// evil is what a hostile node sends for any text: terminal escape sequences, in UTF-8
// and in 8-bit form, a right-to-left override, and lines that look like dapbridge's.
const evil = `\u001b]0;owned\u0007\u001b[2J\u009b31m\u202e\r\nerror: yours\nhint: run this\t`

// outcome is the result of a command.
type outcome struct {
	status int
	output string // part of what it writes, errors included
}

// TestHostileNode runs commands on nodes that each misbehave in one way. Each command
// must end by itself, in time, with an exit status and a message, within bounded memory,
// and without leaving goroutines behind.
func TestHostileNode(t *testing.T) {
	testenv.SkipShort(t, "it takes long")
	bomb := strings.Repeat("[", 1<<20)
	agent := func(a scriptedAgent) *hostileNode { return &hostileNode{start: a.run} }
	absent := func(n *hostileNode) *hostileNode {
		n.start = printToStderr("dapbridge: absent "+uname()+"\n", printAndExit("", 127))
		return n
	}
	platform := func(text string) *hostileNode {
		return &hostileNode{start: printToStderr("dapbridge: absent "+text+"\n", printAndExit("", 127))}
	}
	for _, tt := range []struct {
		name string
		node *hostileNode
		args string
		want outcome
	}{
		{"no channel", &hostileNode{silent: true}, "ps", outcome{3, "no reply to the start of a command within"}},
		{"the channel closes at once", &hostileNode{start: printAndExit("", -1)}, "ps", outcome{3, "channel was closed before it ended"}},
		{"the channel closes after the mark", &hostileNode{start: printAndExit(startMark, -1)}, "ps", outcome{3, "channel was closed before it ended"}},
		{"the agent ends at once", &hostileNode{start: printAndExit(startMark, 9)}, "ps", outcome{3, "ended without any output: exit status 9"}},
		{"no output", &hostileNode{start: printAndHang("")}, "ps", outcome{3, "no output from the agent within"}},
		{"no hello", &hostileNode{start: printAndHang(startMark)}, "ps", outcome{3, "no output from the agent within"}},
		{"half a hello", &hostileNode{start: printAndHang(startMark + "{")}, "ps", outcome{3, "the agent sent no hello within"}},
		{"noise", &hostileNode{start: printForever("", "Welcome to the node\n")}, "ps", outcome{3, "the login shell printed more than"}},
		{"a hello without end", &hostileNode{start: printForever(startMark, "x")}, "ps", outcome{3, "a line of more than"}},
		{"a hello without end, a channel that stays", &hostileNode{start: leaveOpen(printForever(startMark, "x"))}, "ps", outcome{3, "a line of more than"}},
		{"another protocol", agent(scriptedAgent{hello: `{"protocol":99}`}), "ps", outcome{3, "speaks protocol 99, this program 1"}},
		{"a protocol of another type", agent(scriptedAgent{hello: `{"protocol":"` + evil + `"}`}), "ps", outcome{3, "not valid JSON"}},
		{"another system", agent(scriptedAgent{hello: strings.Replace(helloWith(noTarget), `"linux"`, `"`+evil+`"`, 1)}), "ps", outcome{3, "the agent runs on"}},
		{"a deep hello", agent(scriptedAgent{hello: `{"protocol":1,"capabilities":` + bomb}), "ps", outcome{3, "not valid JSON"}},
		{"no target and no reason", agent(scriptedAgent{hello: helloWith(`"x":1`)}), "ps", outcome{3, "neither a target nor why"}},
		{"a hello that stays", &hostileNode{start: leaveOpen((&scriptedAgent{hello: "{}"}).run)}, "ps", outcome{3, "speaks protocol 0"}},

		{"a list that never comes", agent(scriptedAgent{never: []string{"list"}}), "ps", outcome{3, `did not answer "list" within`}},
		{"neither list nor release", agent(scriptedAgent{never: []string{"list", "release"}}), "ps", outcome{3, `did not answer "list" within`}},
		{"a release, and the channel stays", &hostileNode{start: leaveOpen((&scriptedAgent{answers: map[string]string{"list": "[]"}}).run)}, "ps", outcome{0, "PID"}},
		{"a list of another type", agent(scriptedAgent{answers: map[string]string{"list": `{"` + evil + `":1}`}}), "ps", outcome{3, `sent a malformed answer to "list"`}},
		{"a list without builds", agent(scriptedAgent{answers: map[string]string{"list": `[{"process":{}},null]`}}), "ps", outcome{3, "without build information"}},
		{"a list to another question", agent(scriptedAgent{answers: map[string]string{"list": `!{"jsonrpc":"2.0","id":999999,"result":[]}`}}), "ps", outcome{3, `did not answer "list" within`}},
		{"a deep list", agent(scriptedAgent{answers: map[string]string{"list": bomb}}), "ps", outcome{3, "connection to the agent ended"}},
		{"garbage for a list", agent(scriptedAgent{answers: map[string]string{"list": "!Segmentation fault " + evil}}), "ps", outcome{3, "connection to the agent ended"}},
		{"an endless list", agent(scriptedAgent{never: []string{"list"}, extra: strings.Repeat("[", 9<<20)}), "ps", outcome{3, "connection to the agent ended"}},
		{"an evil list", agent(scriptedAgent{answers: map[string]string{"list": `[{"process":{"pid":-1,"exe":"/x/` + evil + `","unit":"` + evil + `"},"build":{"goVersion":"` + evil + `","modulePath":"` + evil + `","moduleVersion":"` + evil + `"}}]`}}),
			"ps", outcome{0, `\x1b]0;owned\a`}},
		{"an evil list, as JSON", agent(scriptedAgent{answers: map[string]string{"list": `[{"process":{"exe":"/x/` + evil + `"},"build":{"goVersion":"` + evil + `"}}]`}}), "ps -o json", outcome{0, `\u001b]0;owned\u0007`}},
		{"an evil error", agent(scriptedAgent{answers: map[string]string{"list": `!{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"m","data":{"code":"` + evil + `","summary":"` + evil + `","hint":"` + evil + `"}}}`}}), "ps", outcome{1, `error: \x1b]0;owned\a`}},
		{"an evil error without data", agent(scriptedAgent{answers: map[string]string{"list": `!{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"` + evil + `"}}`}}), "ps", outcome{1, `error: the agent says: \x1b]0;owned\a`}},

		{"reverse requests", agent(scriptedAgent{flood: `{"jsonrpc":"2.0","id":7,"method":"runInTerminal","params":{"args":["touch","/tmp/owned"]}}` + "\n", never: []string{"list"}}), "ps", outcome{3, `did not answer "list" within`}},
		{"unrequested answers", agent(scriptedAgent{flood: `{"jsonrpc":"2.0","id":31337,"result":[]}` + "\n", never: []string{"list"}}), "ps", outcome{3, `did not answer "list" within`}},
		{"unknown notifications", agent(scriptedAgent{flood: `{"jsonrpc":"2.0","method":"` + evil + `","params":[]}` + "\n", never: []string{"list"}}), "ps", outcome{3, `did not answer "list" within`}},
		{"log lines", agent(scriptedAgent{flood: `{"jsonrpc":"2.0","method":"log","params":{"level":"debug","text":"` + evil + `"}}` + "\n", never: []string{"list"}}), "ps --log-level info", outcome{3, `did not answer "list" within`}},

		{"an upload that is not accepted", absent(&hostileNode{upload: printAndHang("")}), "ps", outcome{3, "no progress in uploading the agent within"}},
		{"an upload that is not read", absent(&hostileNode{upload: leaveOpen(printAndExit("dapbridge: ready raw\n", 0))}), "ps", outcome{3, "no progress in uploading the agent within"}},
		{"an upload that is never stored", absent(&hostileNode{upload: leaveOpen(printAndHang("dapbridge: ready raw\n"))}), "ps", outcome{3, "no progress in uploading the agent within"}},
		{"an upload that is not stored", absent(&hostileNode{upload: printAndExit("dapbridge: ready raw\n", 0)}), "ps", outcome{3, "cannot store the agent"}},
		{"an upload that is falsely confirmed", absent(&hostileNode{upload: printAndExit("dapbridge: ready raw\ndapbridge: stored /x\n", 0)}), "ps", outcome{3, "was stored on"}},
		{"an upload in other words", absent(&hostileNode{upload: printForever("", evil)}), "ps", outcome{3, "upload the agent"}},
		{"an upload by lines", absent(&hostileNode{upload: printForever("", "no\n")}), "ps", outcome{3, "the login shell prints too much"}},
		{"another platform", platform("Linux riscv64"), "ps", outcome{3, `is not linux/amd64 or linux/arm64: uname -s -m printed "Linux riscv64"`}},
		{"an evil platform", platform("\x1b]0;owned\a"), "ps", outcome{3, `\x1b]0;owned\a`}},
		{"no platform", platform(""), "ps", outcome{3, `uname -s -m printed ""`}},
		{"half a platform", &hostileNode{start: printToStderr("dapbridge: absent Linux", printAndHang(""))}, "ps", outcome{3, "no output from the agent within"}},
		{"a long platform", platform(strings.Repeat("Linux ", 10<<10)), "ps", outcome{3, "Linux Li…"}},
		{"a platform without end", platform(strings.Repeat("Linux ", 1<<20)), "ps", outcome{3, "no output from the agent within"}},
		{"another node's agent", platform(otherUname()), "ps", outcome{5, "leave out --agent"}},

		{"paths without a target", agent(scriptedAgent{answers: map[string]string{"target": "{}"}}), "paths", outcome{0, "does not say which files"}},
		{"evil sources", agent(scriptedAgent{answers: map[string]string{"target": "{" + strings.TrimPrefix(aTarget, `"target":{`), "sources": packSources(`{"dirs":[{"dir":"/` + evil + `","package":"` + evil + `","files":["x.go"]}]}`)}}), "paths x.go", outcome{0, `\x1b]0;owned\a`}},
		{"malformed sources", agent(scriptedAgent{answers: map[string]string{"target": "{" + strings.TrimPrefix(aTarget, `"target":{`), "sources": `{"packed":"AAAA"}`}}), "paths", outcome{0, "unpack the agent's list of source files"}},

		{"symbols of an evil origin", agent(scriptedAgent{answers: map[string]string{"target": stripped, "fingerprint": "{}", "origin": `{"goVersion":"` + evil + `"}`}}), "symbols", outcome{4, `\x1b]0;owned\a`}},
		{"symbols of nothing", agent(scriptedAgent{answers: map[string]string{"target": stripped, "fingerprint": `[1]`}}), "symbols", outcome{3, `malformed answer to "fingerprint"`}},
		{"symbols that never come", agent(scriptedAgent{answers: map[string]string{"target": stripped}, never: []string{"fingerprint"}}), "symbols", outcome{3, `did not answer "fingerprint" within`}},
		{"a link that ends", agent(scriptedAgent{answers: map[string]string{"target": stripped, "fingerprint": "!garbage"}}), "symbols", outcome{3, "try again once the node is reachable"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.node.serve(t)
			args := strings.Fields(tt.args)
			wait := time.Minute
			if strings.Contains(tt.want.output, "within") {
				wait = idleTimeout
			}
			start := time.Now()
			status, out := invokeOn(t, tt.node, wait, args[0], args[1:]...)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
			tt.want.check(t, status, out)
		})
	}
}

// check compares a command's result with the wanted one.
func (o outcome) check(t *testing.T, status int, out string) {
	t.Helper()
	if status != o.status {
		t.Errorf("exit status %d, want %d", status, o.status)
	}
	if !strings.Contains(out, o.output) {
		t.Errorf("the output does not contain %q", o.output)
	}
	if t.Failed() {
		t.Logf("%.4000s", out)
	}
}

// idleTimeout is the commands' idle timeout for what a node never sends.
const idleTimeout = time.Second

// busyTimeout is the same for what must succeed, also on a machine that is busy.
const busyTimeout = 10 * time.Second

// invokeOn runs a command on a node. It checks that the command writes neither terminal
// control characters nor lines made up by the node, takes little memory, and leaves no
// goroutines behind.
func invokeOn(t *testing.T, n *hostileNode, wait time.Duration, command string, args ...string) (status int, out string) {
	t.Helper()
	n.setenv(t)
	before := goleak.IgnoreCurrent()
	heap := watchHeap()
	var o, e stream
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	status = run(ctx, environment{args: n.args(command, args...), getenv: os.Getenv, in: os.Stdin, out: &o, err: &e, idleTimeout: wait})
	if most := heap(); most > 192<<20 {
		t.Errorf("the heap grew by %d MB", most>>20)
	}
	if err := goleak.Find(before, goleak.IgnoreAnyFunction("golang.org/x/crypto/ssh.NewServerConn")); err != nil {
		t.Errorf("goroutines are left: %.3000v", err)
	}
	out = o.String() + e.String()
	checkHarmless(t, out)
	return status, out
}

// TestPrintReadyOfAHostileNode checks what serve prints about a target that the node
// made up.
func TestPrintReadyOfAHostileNode(t *testing.T) {
	var text string
	if err := json.Unmarshal([]byte(`"`+evil+`"`), &text); err != nil {
		t.Fatal(err)
	}
	r := serve.Ready{Listen: "127.0.0.1:1", Paths: []string{text}, Warnings: []string{text}}
	r.Target.Exe, r.Target.Build.ModulePath, r.Target.Build.GoVersion = "/x/"+text, text, text
	var out bytes.Buffer
	c := serve.Config{Link: link.Config{SSH: sshconn.Config{Node: &node.Node{Name: "minikube"}}}}
	printReady(&out, c, r)
	checkHarmless(t, out.String())
	if n := strings.Count(out.String(), "\n"); n != 5 {
		t.Errorf("got %d lines, want 5:\n%s", n, out.String())
	}
}

// checkHarmless checks that text has neither control characters nor lines made up by the
// node.
func checkHarmless(t *testing.T, text string) {
	t.Helper()
	for _, bad := range []string{"\x1b", "\a", "\u009b", "\u202e", "\r", "\nerror: yours", "\nhint: run this"} {
		if i := strings.Index(text, bad); i >= 0 {
			t.Errorf("writes %q: …%.200q", bad, text[max(0, i-100):])
		}
	}
}

// watchHeap returns a function that returns by how many bytes the heap has grown at
// most since the call.
func watchHeap() func() uint64 {
	read := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	base, most := read(), uint64(0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, read())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return func() uint64 {
		close(stop)
		wg.Wait()
		return most - min(most, base)
	}
}

// stripped is a target that needs symbols.
const stripped = `{"pid":4711,"startTime":"2026-01-01T00:00:00Z","startTicks":1,"exe":"/usr/bin/containerd","args":[],"uid":0,"parent":1,"build":{"goVersion":"go1.26.0","stripped":true}}`

// packSources packs a list of source files like the agent.
func packSources(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return fmt.Sprintf(`{"packed":"%s"}`, base64.StdEncoding.EncodeToString(b.Bytes()))
}
