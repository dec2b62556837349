package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dapbridge/dapbridge/pathmap"
)

// scriptedSources has the files that a test sets.
type scriptedSources struct {
	mu      sync.Mutex
	host    map[string]bool
	node    map[string]string // text by node path
	reads   []string          // the calls of Read and Keep
	hold    chan struct{}     // Read waits until it is closed; nil: it does not
	keepDir string

	stale   map[string]string
	verdict chan struct{} // CheckStale waits until it is closed; nil: it does not
}

func (s *scriptedSources) IsOnHost(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host[host]
}

func (s *scriptedSources) Read(ctx context.Context, host, node string) ([]byte, error) {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, host+" "+node)
	text, ok := s.node[node]
	if !ok {
		return nil, errors.New("the node does not have " + node)
	}
	return []byte(text), nil
}

func (s *scriptedSources) Keep(ctx context.Context, host, node string) (string, error) {
	if _, err := s.Read(ctx, host, node); err != nil {
		return "", err
	}
	return path.Join(s.keepDir, KeepPath(node)), nil
}

func (s *scriptedSources) KeepDir() string { return s.keepDir }

func (s *scriptedSources) CheckStale(ctx context.Context, host, node string) string {
	if s.verdict != nil {
		select {
		case <-s.verdict:
		case <-ctx.Done():
		}
	}
	return s.stale[host+" "+node]
}

func newNodeWithSources(t *testing.T, s *scriptedSources) *scriptedNode {
	n := newNode(t)
	n.paths = newTestMap(t, pathmap.Rule{Host: "/host", Node: "/node"})
	n.sources = s
	return n
}

// A frame in a file that the host lacks shows the node's text, read when the IDE
// asks for it.
func TestSourceThatTheHostLacks(t *testing.T) {
	sources := &scriptedSources{host: map[string]bool{"/host/here.go": true}, node: map[string]string{"/node/a.go": "package a // \x1b[31mä\n"}}
	n := newNodeWithSources(t, sources)
	i := serve(t, Config{Dialer: n}).dialIDE()
	s := i.attach(n)
	seq := i.request("stackTrace", "{}")
	s.respond(s.expect("request", "stackTrace"), `{"stackFrames":[{"source":{"name":"a.go","path":"/node/a.go"},"line":3},{"source":{"path":"/node/here.go"}},{"source":{"path":"/usr/gone.go"}}]}`)
	want := `{"stackFrames":[{"source":{"name":"a.go","path":"/host/a.go","sourceReference":1073741824,"origin":"from the node","presentationHint":"normal"},"line":3},{"source":{"path":"/host/here.go"}},{"source":{"path":"/usr/gone.go","sourceReference":1073741825,"origin":"from the node","presentationHint":"normal"}}]}`
	if got := i.expectResponse(seq, "stackTrace"); string(got.Body) != want {
		t.Errorf("got  %s\nwant %s", got.Body, want)
	}
	if len(sources.reads) > 0 {
		t.Errorf("read before the IDE asked: %q", sources.reads)
	}
	for _, args := range []string{
		`{"source":{"path":"/host/a.go","sourceReference":1073741824},"sourceReference":1073741824}`,
		`{"sourceReference":1073741824}`,
		`{"source":{"sourceReference":1073741824}}`,
	} {
		var body struct{ Content string }
		got := i.expectResponse(i.request("source", args), "source")
		if err := json.Unmarshal(got.Body, &body); err != nil || body.Content != sources.node["/node/a.go"] {
			t.Errorf("%s gives %s", args, got.Body)
		}
	}
	i.expectRefusal(i.request("source", `{"sourceReference":1073741825}`), "source", "the node does not have /usr/gone.go")
	// Other references are passed to the node.
	for _, args := range []string{`{"sourceReference":7}`, `{"sourceReference":1073741826}`, `{}`} {
		seq := i.request("source", args)
		s.respond(s.expect("request", "source"), `{"content":"x"}`)
		i.expectResponse(seq, "source")
	}
	// A breakpoint there is set by the node's path.
	seq = i.request("setBreakpoints", `{"source":{"name":"a.go","path":"/host/a.go","sourceReference":1073741824},"breakpoints":[{"line":3}]}`)
	set := s.expect("request", "setBreakpoints")
	if !strings.Contains(set.raw, `"path":"/node/a.go"`) {
		t.Errorf("the node gets %s", set.raw)
	}
	s.respond(set, `{"breakpoints":[]}`)
	i.expectResponse(seq, "setBreakpoints")
}

// Files that the IDE maps itself count as present: the host may not have them.
func TestSourceOfTheIDEsOwnMapping(t *testing.T) {
	n := newNodeWithSources(t, &scriptedSources{})
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.initialize()
	seq := i.request("attach", `{"substitutePath":[{"from":"/container","to":"/node/x"}]}`)
	s := n.nextSession()
	s.accept()
	i.expect("event", "initialized")
	i.expectResponse(seq, "attach")
	s.event("output", `{"source":{"path":"/node/x/a.go"}}`)
	if got := i.expect("event", "output"); string(got.Body) != `{"source":{"path":"/container/a.go"}}` {
		t.Errorf("got %s", got.Body)
	}
}

// Reading a file delays neither other messages nor the end.
func TestSourceThatIsWaitedFor(t *testing.T) {
	sources := &scriptedSources{node: map[string]string{"/node/a.go": "a"}, hold: make(chan struct{})}
	n := newNodeWithSources(t, sources)
	i := serve(t, Config{Dialer: n}).dialIDE()
	s := i.attach(n)
	s.event("output", `{"source":{"path":"/node/a.go"}}`)
	i.expect("event", "output")
	first := i.request("source", `{"sourceReference":1073741824}`)
	i.roundTrip(s)
	close(sources.hold)
	i.expectResponse(first, "source")

	sources.hold = make(chan struct{})
	i.request("source", `{"sourceReference":1073741824}`)
	i.roundTrip(s)
	i.conn.Close()
	s.waitEnded()
}

// The number of references is bounded, and each stands for one file.
func TestReferences(t *testing.T) {
	n := newNode(t)
	n.sources = &scriptedSources{}
	l := newMissingSources(&nodeSession{node: n})
	for n := range maxReferences {
		if p := l.findPlace(fmt.Sprint(n), fmt.Sprint(n)); p.Reference != firstReference+n {
			t.Fatalf("file %d has the reference %d", n, p.Reference)
		}
	}
	if p := l.findPlace("7", "7"); p.Reference != firstReference+7 {
		t.Errorf("the reference changes to %d", p.Reference)
	}
	if p := l.findPlace("x", "x"); p != (pathmap.Place{}) {
		t.Errorf("one too many is %+v", p)
	}
	for _, n := range []int{-1, 0, firstReference - 1, firstReference + maxReferences} {
		if _, ok := l.file(n); ok {
			t.Errorf("%d is a reference", n)
		}
	}
	if f, ok := l.file(firstReference + 7); !ok || f != (sourceFile{"7", "7"}) {
		t.Errorf("got %+v, %v", f, ok)
	}
}

// For a JSON-RPC client, the file is copied before the answer that names it is relayed,
// and the client may name the copy in a request.
func TestRPCSourceThatTheHostLacks(t *testing.T) {
	sources := &scriptedSources{host: map[string]bool{"/host/here.go": true}, node: map[string]string{"/node/a.go": "a", "fmt/print.go": "p"}, keepDir: "/cache/x"}
	n := newNodeWithSources(t, sources)
	w := serve(t, Config{Dialer: n}).dialRPC()
	node, _ := attachRPC(w, n)
	ask := func(answer, want string) {
		t.Helper()
		w.send(rpcRequest("1", "Stacktrace", "{}"))
		node.next()
		node.send(answer)
		w.expect(want)
	}
	const answer = `{"id":1,"result":{"Locations":[{"file":"/node/a.go"},{"file":"/node/here.go"},{"file":"fmt/print.go"},{"file":"/node/a.go"},{"file":"/usr/gone.go"}]},"error":null}`
	const want = `{"id":1,"result":{"Locations":[{"file":"/cache/x/root/node/a.go"},{"file":"/host/here.go"},{"file":"/cache/x/trimpath/fmt/print.go"},{"file":"/cache/x/root/node/a.go"},{"file":"/usr/gone.go"}]},"error":null}`
	ask(answer, want)
	ask(answer, want)
	slices.Sort(sources.reads)
	if want := []string{"/host/a.go /node/a.go", "/usr/gone.go /usr/gone.go", "fmt/print.go fmt/print.go"}; !slices.Equal(slices.Compact(slices.Clone(sources.reads)), want) || len(sources.reads) > 4 {
		t.Errorf("asked for %q, want %q", sources.reads, want)
	}
	// A list of all files copies none.
	before := len(sources.reads)
	w.send(rpcRequest("2", "ListSources", "{}"))
	node.next()
	node.send(`{"id":2,"result":{"Sources":["/node/b.go","/node/c.go"]},"error":null}`)
	w.expect(`{"id":2,"result":{"Sources":["/host/b.go","/host/c.go"]},"error":null}`)
	if len(sources.reads) != before {
		t.Errorf("a list asked for %q", sources.reads[before:])
	}
	for file, want := range map[string]string{
		"/cache/x/root/node/a.go":        "/node/a.go",
		"/cache/x/root/usr/z.go":         "/usr/z.go",
		"/cache/x/trimpath/fmt/print.go": "fmt/print.go",
		"/host/a.go":                     "/node/a.go",
	} {
		w.send(rpcRequest("3", "CreateBreakpoint", `{"Breakpoint":{"file":"`+file+`","line":3}}`))
		node.expect(rpcRequest("3", "CreateBreakpoint", `{"Breakpoint":{"file":"`+want+`","line":3}}`))
		node.send(`{"id":3,"result":{},"error":null}`)
		w.expect(`{"id":3,"result":{},"error":null}`)
	}
}

// One answer copies at most maxKept files.
func TestRPCFilesPerMessage(t *testing.T) {
	sources := &scriptedSources{node: map[string]string{}, keepDir: "/cache"}
	k := newSourceKeeper(sources)
	for n := range 3 * maxKept {
		sources.node[fmt.Sprint(n)] = ""
		k.findPlace(fmt.Sprint("/h/", n), fmt.Sprint(n))
	}
	if !k.keepWanted(t.Context()) {
		t.Error("no file was copied")
	}
	if got := len(sources.reads); got != maxKept {
		t.Errorf("asked for %d files, want %d", got, maxKept)
	}
	if got := len(k.paths); got != maxKept {
		t.Errorf("copied %d files, want %d", got, maxKept)
	}
	if k.keepWanted(t.Context()) {
		t.Error("brought some again")
	}
	for n := range 2 * maxSessionKept {
		k.findPlace(fmt.Sprint("/g/", n), fmt.Sprint("g", n))
		k.keepWanted(t.Context())
	}
	if len(k.paths) > maxSessionKept {
		t.Errorf("one session brought %d files", len(k.paths))
	}
}
