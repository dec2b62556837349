package pathmap

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestRPCLocations(t *testing.T) {
	m := parseMap(t, "/host/src=/node/src", `C:\go=.`)
	for host, node := range map[string]string{
		"/host/src/a.go:12":      "/node/src/a.go:12",
		"/host/src/a.go":         "/node/src/a.go",
		"/host/src/a:b.go:1":     "/node/src/a:b.go:1",
		"/host/src/":             "/host/src/", // a regular expression
		"/host/src/a.go:x":       "/node/src/a.go:x",
		"/other/a.go:12":         "/other/a.go:12",
		"a.go:12":                "a.go:12",
		"main.main":              "main.main",
		"fmt.Println:3":          "fmt.Println:3",
		"*0x1234":                "*0x1234",
		"+3":                     "+3",
		":12":                    ":12",
		"":                       "",
		`C:\go\fmt\print.go:270`: "fmt/print.go:270",
	} {
		msg := func(loc string) string {
			raw, _ := json.Marshal(loc)
			return `{"method":"RPCServer.FindLocation","params":[{"Loc":` + string(raw) + `}],"id":1}`
		}
		if out, _ := m.RewriteRPC(nil, []byte(msg(host)), ToNode); string(out) != msg(node) {
			t.Errorf("%s becomes %s", host, out)
		}
		if out, _ := m.RewriteRPC(nil, []byte(msg(node)), ToHost); string(out) != msg(host) {
			t.Errorf("%s comes back as %s", host, out)
		}
	}
}

// TestRPCLeavesOthers checks messages and members that must not change.
func TestRPCLeavesOthers(t *testing.T) {
	m := parseMap(t, "/host=/node")
	for _, msg := range []string{
		`{"id":"/node/a.go","result":null,"error":"/node/a.go"}`,
		`{"file":"/node/a.go","id":{"file":"/node/a.go"},"result":7}`,
		`{"id":1,"result":{"Goroutine":{"labels":{"file":"/node/a.go"}},"hitCount":{"file":1}}}`,
		`{"id":1,"result":{"Sources":"/node/a.go","Files":{"Files":7},"file":["/node/a.go"]}}`,
		`{"id":1,"result":{"source":{"path":"/node/a.go"}}}`,
	} {
		if out, changed := m.RewriteRPC(nil, []byte(msg), ToHost); changed != 0 || string(out) != msg {
			t.Errorf("%s becomes %s", msg, out)
		}
	}
	// A path among other members, and nested: Disassemble's Loc is an object.
	const in = `{"id":1, "result":{"Disassemble":[{"Loc":{"pc":1,"file":"/node/a.go"},"Text":"/node/a.go"}], "x":[["/node/a.go"]]} }`
	if out, changed := m.RewriteRPC([]byte("keep"), []byte(in), ToHost); changed != 1 || string(out) != "keep"+strings.Replace(in, `"file":"/node`, `"file":"/host`, 1) {
		t.Errorf("got %s", out)
	}
}

// FuzzRewriteRPC checks that a message comes back as it was, that only strings change,
// and that both passes agree.
func FuzzRewriteRPC(f *testing.F) {
	for _, seed := range []string{
		`{"method":"RPCServer.CreateBreakpoint","params":[{"Breakpoint":{"file":"/host/src/a.go","line":3},"LocExpr":"/host/src/a.go:3"}],"id":1}`,
		`{"id":1,"result":{"Sources":["/node/src/a.go",7,null]},"error":null}`,
		`{"id":"a\u0062","result":{"labels":{"file":"/node/src/a.go"},"Loc":"\/node/src/a.go:1"}}`,
	} {
		f.Add([]byte(seed))
	}
	m, err := New(Rule{Host: "/host/src", Node: "/node/src"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		for _, dir := range []Direction{ToHost, ToNode} {
			out, changed := m.RewriteRPC(nil, msg, dir)
			var e Edits
			if r := (&Rewriter{Map: m}); dir == ToHost && r.ScanRPC(&e, msg, ignoreMember) == nil {
				if scanned := e.Apply(nil, msg); !bytes.Equal(out, scanned) || changed != e.Len() {
					t.Fatalf("%q or %q", out, scanned)
				}
			}
			if changed == 0 {
				if !bytes.Equal(out, msg) {
					t.Fatalf("%q, and nothing has changed", out)
				}
				continue
			}
			if !json.Valid(out) || shape(out) != shape(msg) {
				t.Fatalf("%q has become %q", msg, out)
			}
			if back, _ := m.RewriteRPC(nil, out, 1-dir); shape(back) != shape(msg) {
				t.Fatalf("%q comes back as %q", msg, back)
			}
		}
	})
}

// shape returns a message without the contents of its strings.
func shape(msg []byte) string {
	return regexp.MustCompile(`"(\\.|[^"\\])*"`).ReplaceAllString(string(msg), `""`)
}
