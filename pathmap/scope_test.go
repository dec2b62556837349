package pathmap

import (
	"strings"
	"testing"
)

// TestOneWay gives a node tree other names on the host, and the reverse.
func TestOneWay(t *testing.T) {
	m, err := New(
		Rule{Host: "/home/me/src", Node: "/build"},
		Rule{Host: "/data/src", Node: "/build", Scope: OnlyToNode},
		Rule{Host: "/home/me/src", Node: "/build/bazel-out/bin", Scope: OnlyToHost},
		Rule{Host: "/data/src", Node: "/build", Scope: OnlyToNode}, // again
	)
	if err != nil {
		t.Fatal(err)
	}
	checkPaths(t, "ToNode", m.ToNode, map[string]string{"/home/me/src/a.go": "/build/a.go", "/data/src/a.go": "/build/a.go"})
	checkPaths(t, "ToHost", m.ToHost, map[string]string{"/build/a.go": "/home/me/src/a.go", "/build/bazel-out/bin/a.go": "/home/me/src/a.go"})
	if n := len(m.Rules()); n != 3 {
		t.Errorf("%d rules", n)
	}
	for _, r := range []Rule{
		{Host: "/home/me/src", Node: "/elsewhere", Scope: OnlyToNode},
		{Host: "/elsewhere", Node: "/build", Scope: OnlyToHost},
	} {
		if _, err := New(append(m.Rules(), r)...); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("%s: %v", r, err)
		}
	}
}

// TestStandardLibrary checks that files of the standard library are distinguished from
// others of a -trimpath build.
func TestStandardLibrary(t *testing.T) {
	m := parseMap(t, "/go/src=std", "/app=example.com/app", "/local=app")
	checkPaths(t, "ToHost", m.ToHost, map[string]string{
		"net/http/server.go":       "/go/src/net/http/server.go",
		"cmd/go/main.go":           "/go/src/cmd/go/main.go",
		"vendor/golang.org/x/a.go": "/go/src/vendor/golang.org/x/a.go",
		"app/main.go":              "/local/main.go",
		"example.com/app/main.go":  "/app/main.go",
		"example.com/b/b.go":       "",
		"b@v1.0.0/b.go":            "",
		"_cgo_gotypes.go":          "",
		"/abs/runtime/proc.go":     "",
	})
	checkPaths(t, "ToNode", m.ToNode, map[string]string{"/go/src/net/http/server.go": "net/http/server.go", "/go/src": "std"})
	m = parseMap(t, "/go/src=std", "/rest=.")
	checkPaths(t, "ToHost", m.ToHost, map[string]string{"net/a.go": "/go/src/net/a.go", "example.com/b/b.go": "/rest/example.com/b/b.go"})
}

// TestHiddenRules has rules that hide those below them, in each direction separately.
func TestHiddenRules(t *testing.T) {
	m := parseMap(t, "/ws=/by/hand").Over(parseMap(t, "/ws/vendor/a=/build/vendor/a", "/cache/b=/build/vendor/b", "/go/src=std"))
	checkPaths(t, "ToNode", m.ToNode, map[string]string{
		"/ws/vendor/a/a.go": "/by/hand/vendor/a/a.go",
		"/cache/b/b.go":     "/build/vendor/b/b.go",
		"/go/src/net/a.go":  "net/a.go",
	})
	checkPaths(t, "ToHost", m.ToHost, map[string]string{
		"/by/hand/x.go":        "/ws/x.go",
		"/build/vendor/a/a.go": "/ws/vendor/a/a.go",
	})
	for _, m := range []*Map{(*Map)(nil).Over(m), m.Over(nil)} {
		if len(m.Rules()) != 4 {
			t.Errorf("rules: %v", m.Rules())
		}
	}
}

// TestIgnoreCase maps paths in any case, as a Mac or Windows may send them, to the one
// file that the node has.
func TestIgnoreCase(t *testing.T) {
	m := parseMap(t, "/Users/Me/src=/build", `C:\Src=/win`).IgnoreCase([]string{
		"/build/pkg/Handler.go", "/build/pkg/İ.go", "/build/K.go", "/win/a.go", "/win/A.go",
	})
	checkPaths(t, "ToNode", m.ToNode, map[string]string{
		"/users/me/SRC/PKG/handler.go": "/build/pkg/Handler.go",
		"/Users/Me/src/pkg/other.go":   "/build/pkg/other.go",
		"/users/me/src/pkg/İ.go":       "/build/pkg/İ.go",
		`c:\SRC\a.go`:                  "/win/a.go",
		"/users/you/src/a.go":          "",
	})
	checkPaths(t, "ToHost", m.ToHost, map[string]string{"/build/pkg/Handler.go": "/Users/Me/src/pkg/Handler.go", "/BUILD/a.go": ""})
	under, err := m.WithClient([]Rule{{Host: "/Workspaces/x", Node: "/users/me/Src/pkg"}})
	if err != nil {
		t.Fatal(err)
	}
	checkPaths(t, "ToNode", under.ToNode, map[string]string{"/workspaces/X/handler.go": "/build/pkg/Handler.go"})
	invalid := "/users/me/src/\xff\xfe.go"
	if got, ok := m.ToNode(invalid); !ok || got != "/build/\xff\xfe.go" {
		t.Errorf("%q, %v", got, ok)
	}
}

// TestCovering checks the rule that applies to a path, and the less specific ones.
func TestCovering(t *testing.T) {
	m := parseMap(t, "/ws=/build", "/cache/b=/build/vendor/b", "/go/src=std", "/=/")
	for path, want := range map[string]string{
		"/build/a.go":          "/ws=/build /=/",
		"/build/vendor/b/b.go": "/cache/b=/build/vendor/b /ws=/build /=/",
		"/build":               "/ws=/build /=/",
		"/x":                   "/=/",
		"net/http/server.go":   "/go/src=std",
		"server.go":            "",
	} {
		var got []string
		for _, r := range m.Covering(path, ToHost) {
			got = append(got, r.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", path, s, want)
		}
	}
	if rules := m.Covering("/ws/a.go", ToNode); len(rules) != 2 || rules[0].String() != "/ws=/build" {
		t.Errorf("%v", rules)
	}
	if (*Map)(nil).Covering("/x", ToNode) != nil {
		t.Error("rules of no map")
	}
}

// TestResolve maps paths through symbolic links that no rule covers.
func TestResolve(t *testing.T) {
	calls := 0
	m := parseMap(t, "/home/me/src=/build").Resolve(func(path string) string {
		calls++
		return strings.Replace(path, "/home/me/link/", "/home/me/src/", 1)
	})
	checkPaths(t, "ToNode", m.ToNode, map[string]string{
		"/home/me/link/a.go": "/build/a.go",
		"/home/me/src/a.go":  "/build/a.go",
		"/elsewhere/a.go":    "",
		"relative/a.go":      "",
	})
	if calls != 2 {
		t.Errorf("%d lookups, want 2: a rule comes first, and links lead from full paths", calls)
	}
	checkPaths(t, "ToHost", m.ToHost, map[string]string{"/build/a.go": "/home/me/src/a.go", "/home/me/link/a.go": ""})
	under, err := m.WithClient([]Rule{{Host: "/home/me/link/sub", Node: "/other"}})
	if err != nil {
		t.Fatal(err)
	}
	checkPaths(t, "ToNode", under.ToNode, map[string]string{"/home/me/link/sub/a.go": "/other/a.go", "/home/me/link/a.go": "/build/a.go"})
	checkPaths(t, "ToNode", m.IgnoreCase(nil).ToNode, map[string]string{"/home/me/link/a.go": "/build/a.go"})
	if (*Map)(nil).Resolve(nil) != nil {
		t.Error("a map of nothing")
	}
}
