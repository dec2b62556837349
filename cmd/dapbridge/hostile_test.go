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
	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/daemon"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
)

// evil is what a hostile node puts wherever text goes: a terminal's escape
// sequences, in UTF-8's and in 8-bit form, a right-to-left override, and lines
// that look like ours.
const evil = `\u001b]0;owned\u0007\u001b[2J\u009b31m\u202e\r\nerror: yours\nhint: run this\t`

// outcome is how a command ends.
type outcome struct {
	status int
	says   string // part of what it writes, errors included
}

// TestHostileNode runs commands against nodes that misbehave in one way each:
// each ends by itself, in time, with a status and words, within bounded memory,
// and leaves no goroutine behind.
func TestHostileNode(t *testing.T) {
	bomb := strings.Repeat("[", 1<<20)
	agent := func(a scriptedAgent) *hostileNode { return &hostileNode{start: a.run} }
	absent := func(n *hostileNode) *hostileNode {
		n.start = func(rw io.ReadWriter) int {
			io.WriteString(rw.(ssh.Channel).Stderr(), "dapbridge: absent\n")
			return 127
		}
		return n
	}
	for _, tt := range []struct {
		name string
		node *hostileNode
		args string
		want outcome
	}{
		{"no channel", &hostileNode{silent: true}, "ps", outcome{3, "no reply to the start of a command within"}},
		{"the channel closes at once", &hostileNode{start: says("", -1)}, "ps", outcome{3, "channel was closed before it ended"}},
		{"the channel closes after the mark", &hostileNode{start: says(startMark, -1)}, "ps", outcome{3, "channel was closed before it ended"}},
		{"the agent ends at once", &hostileNode{start: says(startMark, 9)}, "ps", outcome{3, "ended without any output: exit status 9"}},
		{"no word", &hostileNode{start: stalls("")}, "ps", outcome{3, "no output from the agent within"}},
		{"no hello", &hostileNode{start: stalls(startMark)}, "ps", outcome{3, "no output from the agent within"}},
		{"half a hello", &hostileNode{start: stalls(startMark + "{")}, "ps", outcome{3, "the agent's first line did not come within"}},
		{"noise", &hostileNode{start: floods("", "Welcome to the node\n")}, "ps", outcome{3, "the login shell printed more than"}},
		{"a hello without end", &hostileNode{start: floods(startMark, "x")}, "ps", outcome{3, "a line of more than"}},
		{"a hello without end, a channel that stays", &hostileNode{start: stays(floods(startMark, "x"))}, "ps", outcome{3, "a line of more than"}},
		{"another protocol", agent(scriptedAgent{hello: `{"protocol":99}`}), "ps", outcome{3, "speaks protocol 99, this program 1"}},
		{"a protocol of another kind", agent(scriptedAgent{hello: `{"protocol":"` + evil + `"}`}), "ps", outcome{3, "no JSON"}},
		{"another system", agent(scriptedAgent{hello: strings.Replace(goodHello(noTarget), `"linux"`, `"`+evil+`"`, 1)}), "ps", outcome{3, "the agent runs on"}},
		{"a deep hello", agent(scriptedAgent{hello: `{"protocol":1,"capabilities":` + bomb}), "ps", outcome{3, "no JSON"}},
		{"no target and no reason", agent(scriptedAgent{hello: goodHello(`"x":1`)}), "ps", outcome{3, "neither a target nor why"}},
		{"a hello that stays", &hostileNode{start: stays((&scriptedAgent{hello: "{}"}).run)}, "ps", outcome{3, "speaks protocol 0"}},

		{"a list that never comes", agent(scriptedAgent{never: []string{"list"}}), "ps", outcome{3, `has not answered "list" within`}},
		{"neither list nor release", agent(scriptedAgent{never: []string{"list", "release"}}), "ps", outcome{3, `has not answered "list" within`}},
		{"a release, and the channel stays", &hostileNode{start: stays((&scriptedAgent{answers: map[string]string{"list": "[]"}}).run)}, "ps", outcome{0, "PID"}},
		{"a list of another kind", agent(scriptedAgent{answers: map[string]string{"list": `{"` + evil + `":1}`}}), "ps", outcome{3, `answers "list" with what is none`}},
		{"a list without builds", agent(scriptedAgent{answers: map[string]string{"list": `[{"process":{}},null]`}}), "ps", outcome{3, "without a build"}},
		{"a list to another question", agent(scriptedAgent{answers: map[string]string{"list": `!{"jsonrpc":"2.0","id":999999,"result":[]}`}}), "ps", outcome{3, `has not answered "list" within`}},
		{"a deep list", agent(scriptedAgent{answers: map[string]string{"list": bomb}}), "ps", outcome{3, "connection to the agent ended"}},
		{"garbage for a list", agent(scriptedAgent{answers: map[string]string{"list": "!Segmentation fault " + evil}}), "ps", outcome{3, "connection to the agent ended"}},
		{"an endless list", agent(scriptedAgent{never: []string{"list"}, extra: strings.Repeat("[", 9<<20)}), "ps", outcome{3, "connection to the agent ended"}},
		{"an evil list", agent(scriptedAgent{answers: map[string]string{"list": `[{"process":{"pid":-1,"exe":"/x/` + evil + `","unit":"` + evil + `"},"build":{"goVersion":"` + evil + `","modulePath":"` + evil + `","moduleVersion":"` + evil + `"}}]`}}),
			"ps", outcome{0, `\x1b]0;owned\a`}},
		{"an evil list, as JSON", agent(scriptedAgent{answers: map[string]string{"list": `[{"process":{"exe":"/x/` + evil + `"},"build":{"goVersion":"` + evil + `"}}]`}}), "ps -o json", outcome{0, `\u001b]0;owned\u0007`}},
		{"an evil error", agent(scriptedAgent{answers: map[string]string{"list": `!{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"m","data":{"code":"` + evil + `","summary":"` + evil + `","hint":"` + evil + `"}}}`}}), "ps", outcome{1, `error: \x1b]0;owned\a`}},
		{"an evil error without data", agent(scriptedAgent{answers: map[string]string{"list": `!{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"` + evil + `"}}`}}), "ps", outcome{1, `error: the agent says: \x1b]0;owned\a`}},

		{"reverse requests", agent(scriptedAgent{flood: `{"jsonrpc":"2.0","id":7,"method":"runInTerminal","params":{"args":["touch","/tmp/owned"]}}` + "\n", never: []string{"list"}}), "ps", outcome{3, `has not answered "list" within`}},
		{"answers that nobody asked for", agent(scriptedAgent{flood: `{"jsonrpc":"2.0","id":31337,"result":[]}` + "\n", never: []string{"list"}}), "ps", outcome{3, `has not answered "list" within`}},
		{"unknown notifications", agent(scriptedAgent{flood: `{"jsonrpc":"2.0","method":"` + evil + `","params":[]}` + "\n", never: []string{"list"}}), "ps", outcome{3, `has not answered "list" within`}},
		{"log lines", agent(scriptedAgent{flood: `{"jsonrpc":"2.0","method":"log","params":{"level":"debug","text":"` + evil + `"}}` + "\n", never: []string{"list"}}), "ps --log-level info", outcome{3, `has not answered "list" within`}},

		{"an upload that is not taken", absent(&hostileNode{upload: stalls("")}), "ps", outcome{3, "no progress in uploading the agent within"}},
		{"an upload that is not read", absent(&hostileNode{upload: stays(says("dapbridge: ready raw\n", 0))}), "ps", outcome{3, "no progress in uploading the agent within"}},
		{"an upload that is never stored", absent(&hostileNode{upload: stays(stalls("dapbridge: ready raw\n"))}), "ps", outcome{3, "no progress in uploading the agent within"}},
		{"an upload that is not stored", absent(&hostileNode{upload: says("dapbridge: ready raw\n", 0)}), "ps", outcome{3, "cannot store the agent"}},
		{"an upload that was a lie", absent(&hostileNode{upload: says("dapbridge: ready raw\ndapbridge: stored /x\n", 0)}), "ps", outcome{3, "was stored on"}},
		{"an upload in other words", absent(&hostileNode{upload: floods("", evil)}), "ps", outcome{3, "upload the agent"}},
		{"an upload by lines", absent(&hostileNode{upload: floods("", "no\n")}), "ps", outcome{3, "the login shell prints too much"}},
		{"another platform", absent(&hostileNode{platform: says("\x1b[31m \x1b[32m\n", 0)}), "ps", outcome{3, `\x1b[31m/`}},
		{"no platform", absent(&hostileNode{platform: stays(stalls(""))}), "ps", outcome{3, "no output from the command within"}},
		{"a platform without end", absent(&hostileNode{platform: floods("", "Linux ")}), "ps", outcome{3, "bytes of output"}},

		{"paths without a target", agent(scriptedAgent{answers: map[string]string{"target": "{}"}}), "paths", outcome{0, "does not say which files"}},
		{"evil sources", agent(scriptedAgent{answers: map[string]string{"target": "{" + strings.TrimPrefix(aTarget, `"target":{`), "sources": sources(`{"dirs":[{"dir":"/` + evil + `","package":"` + evil + `","files":["x.go"]}]}`)}}), "paths x.go", outcome{0, `\x1b]0;owned\a`}},
		{"sources that are none", agent(scriptedAgent{answers: map[string]string{"target": "{" + strings.TrimPrefix(aTarget, `"target":{`), "sources": `{"packed":"AAAA"}`}}), "paths", outcome{0, "source files as the agent sends them"}},

		{"symbols of an evil origin", agent(scriptedAgent{answers: map[string]string{"target": stripped, "fingerprint": "{}", "origin": `{"goVersion":"` + evil + `"}`}}), "symbols", outcome{4, `\x1b]0;owned\a`}},
		{"symbols of nothing", agent(scriptedAgent{answers: map[string]string{"target": stripped, "fingerprint": `[1]`}}), "symbols", outcome{3, `answers "fingerprint"`}},
		{"symbols that never come", agent(scriptedAgent{answers: map[string]string{"target": stripped}, never: []string{"fingerprint"}}), "symbols", outcome{3, `has not answered "fingerprint" within`}},
		{"a link that ends", agent(scriptedAgent{answers: map[string]string{"target": stripped, "fingerprint": "!garbage"}}), "symbols", outcome{3, "try again once the node is reachable"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.node.serve(t)
			args := strings.Fields(tt.args)
			wait := time.Minute
			if strings.Contains(tt.want.says, "within") {
				wait = idleTimeout
			}
			start := time.Now()
			status, out := invokeOn(t, tt.node, wait, args[0], args[1:]...)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
			if status != tt.want.status || !strings.Contains(out, tt.want.says) {
				t.Errorf("exit status %d, want %d: …%s…\n%.4000s", status, tt.want.status, tt.want.says, out)
			}
		})
	}
}

// idleTimeout is how long these tests wait for what a node never says.
const idleTimeout = time.Second

// invokeOn runs a command against a node, and sees that it neither writes what
// a terminal would obey, nor lines of the node's own, nor takes much memory, nor
// leaves goroutines.
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
	harmless(t, out)
	return status, out
}

// TestReadyOfAHostileNode writes what serve says of a target that the node made
// up.
func TestReadyOfAHostileNode(t *testing.T) {
	var text string
	if err := json.Unmarshal([]byte(`"`+evil+`"`), &text); err != nil {
		t.Fatal(err)
	}
	r := daemon.Ready{Listen: "127.0.0.1:1", Paths: []string{text}, Warnings: []string{text}}
	r.Target.Exe, r.Target.Build.ModulePath, r.Target.Build.GoVersion = "/x/"+text, text, text
	var out bytes.Buffer
	c := daemon.Config{SSH: sshconn.Config{Node: &node.Node{Name: "minikube"}}}
	printReady(&out, c, r)
	harmless(t, out.String())
	if n := strings.Count(out.String(), "\n"); n != 5 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

// harmless sees that a text has neither control characters nor lines that the
// node has made.
func harmless(t *testing.T, text string) {
	t.Helper()
	for _, bad := range []string{"\x1b", "\a", "\u009b", "\u202e", "\r", "\nerror: yours", "\nhint: run this"} {
		if i := strings.Index(text, bad); i >= 0 {
			t.Errorf("writes %q: …%.200q", bad, text[max(0, i-100):])
		}
	}
}

// watchHeap returns a function that tells by how many bytes the heap has grown
// at most since.
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

// sources packs a target's source files as the agent does.
func sources(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return fmt.Sprintf(`{"packed":"%s"}`, base64.StdEncoding.EncodeToString(b.Bytes()))
}
