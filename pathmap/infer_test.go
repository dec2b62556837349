package pathmap

import (
	"strings"
	"testing"
)

const v2 = "github.com/containerd/containerd/v2"

func TestInfer(t *testing.T) {
	for _, c := range []struct {
		name, module, pkg, file string
		node                    string
	}{
		{"a checkout", v2, v2 + "/cmd/containerd", "/build/containerd/cmd/containerd/main.go", "/build/containerd"},
		{"a checkout in a directory named otherwise", v2, v2 + "/cmd/containerd", "/src/cmd/containerd/builtins.go", "/src"},
		{"the root of the file system", v2, v2 + "/cmd/containerd", "/cmd/containerd/main.go", "/"},
		{"the module cache", v2, v2 + "/cmd/containerd", "/root/go/pkg/mod/github.com/containerd/containerd/v2@v2.4.2/cmd/containerd/main.go", "/root/go/pkg/mod/github.com/containerd/containerd/v2@v2.4.2"},
		{"-trimpath", v2, v2 + "/cmd/containerd", v2 + "/cmd/containerd/main.go", v2},
		{"-trimpath of a version", v2, v2 + "/cmd/containerd", v2 + "@v2.4.2/cmd/containerd/main.go", v2 + "@v2.4.2"},
		{"main in the module's root", v2, v2, "/build/x/main.go", "/build/x"},
		{"-trimpath, main in the module's root", v2, v2, v2 + "@v2.4.2/main.go", v2 + "@v2.4.2"},
		{"GOPATH", "", v2 + "/cmd/containerd", "/go/src/" + v2 + "/cmd/containerd/main.go", "/go/src/" + v2},
		{"vendored", v2, v2 + "/cmd/containerd", "/w/vendor/" + v2 + "/cmd/containerd/main.go", "/w/vendor/" + v2},
		{"built on Windows", v2, v2 + "/cmd/containerd", "C:/src/containerd/cmd/containerd/main.go", "C:/src/containerd"},
		{"a package twice in the path", v2, v2 + "/cmd/x", "/cmd/x/cmd/x/main.go", "/cmd/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules, reason := Infer(Target{ModulePath: c.module, MainPackage: c.pkg, MainFile: c.file},
				[]Workspace{{"/home/dev/other", "example.com/other"}, {"/home/dev/containerd", v2}})
			want := Rule{Host: "/home/dev/containerd", Node: c.node, Reason: "main module " + v2}
			if reason != "" || len(rules) != 1 || rules[0] != want {
				t.Errorf("got %+v, %q, want %+v", rules, reason, want)
			}
		})
	}
}

func TestInferSaysWhyNot(t *testing.T) {
	target := Target{v2, v2 + "/cmd/containerd", "/build/containerd/cmd/containerd/main.go"}
	own := []Workspace{{"/home/dev/containerd", v2}}
	for _, c := range []struct {
		name       string
		target     Target
		workspaces []Workspace
		want       string
	}{
		{"no workspace", target, nil, "main module is " + v2 + ", and no go.mod was found"},
		{"another module", target, []Workspace{{"/home/dev/fork", "example.com/fork"}},
			"main module is " + v2 + ", but the host has example.com/fork in /home/dev/fork"},
		{"another major version", target, []Workspace{{"/w", strings.TrimSuffix(v2, "/v2")}}, "but the host has github.com/containerd/containerd in /w"},
		{"two checkouts", target, append(own, Workspace{"/home/dev/second", v2}), "both /home/dev/containerd and /home/dev/second hold"},
		{"a list of files", Target{MainPackage: "command-line-arguments", MainFile: "/build/x/main.go"}, own, "built from a list of files"},
		{"no build information", Target{MainFile: "/build/x/main.go"}, own, "no build information"},
		{"no file", Target{ModulePath: v2, MainPackage: v2}, own, "which file its main function is in"},
		{"a test", Target{v2, v2 + "/pkg/x.test", "_testmain.go"}, own, "test binary"},
		{"a file elsewhere", Target{v2, v2 + "/cmd/containerd", "/tmp/generated.go"}, own, "does not fit its package"},
		{"a file without directory", Target{v2, v2, "main.go"}, own, "does not fit its package"},
		{"a package elsewhere", Target{v2, "example.com/x", "/x/main.go"}, own, "is not in its main module"},
		{"a longer name", Target{"", v2 + "x/cmd/containerd", "/x/cmd/containerd/main.go"}, own, "main package is " + v2 + "x/cmd/containerd"},
	} {
		rules, reason := Infer(c.target, c.workspaces)
		if len(rules) > 0 || !strings.Contains(reason, c.want) {
			t.Errorf("%s: got %v, %q, want %q", c.name, rules, reason, c.want)
		}
	}
}

func TestInferTakesTheSameWorkspaceTwice(t *testing.T) {
	w := Workspace{"/home/dev/containerd", v2}
	rules, reason := Infer(Target{v2, v2, "/build/main.go"}, []Workspace{w, w})
	if len(rules) != 1 || reason != "" {
		t.Errorf("got %v, %q", rules, reason)
	}
}
