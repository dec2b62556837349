package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// violation is a broken rule: where and what, and why that matters.
type violation struct{ what, reason string }

type check func(*repository) []violation

func rules() map[string]check {
	return map[string]check{
		"layers":           (*repository).checkLayers,
		"restrictions":     (*repository).checkRestrictions,
		"pure":             (*repository).checkPure,
		"small":            (*repository).checkSmall,
		"process":          (*repository).checkProcess,
		"dot imports":      (*repository).checkDotImports,
		"skips":            (*repository).checkSkips,
		"names":            (*repository).checkNames,
		"vars":             (*repository).checkVars,
		"package comments": (*repository).checkPackageComments,
		"hosts":            (*repository).checkHosts,
		"format":           (*repository).checkFormat,
		"pinned":           (*repository).checkPinned,
		"promises":         (*repository).checkPromises,
		"links":            (*repository).checkLinks,
		"paths":            (*repository).checkPaths,
	}
}

// TestRepository holds this repository against the rules.
func TestRepository(t *testing.T) {
	r, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.source) < 20 {
		t.Fatalf("found %d Go files: is this the repository?", len(r.source))
	}
	for name, check := range rules() {
		t.Run(name, func(t *testing.T) {
			broken := map[string][]string{}
			for _, v := range check(r) {
				broken[v.reason] = append(broken[v.reason], v.what)
			}
			for reason, what := range broken {
				slices.Sort(what)
				t.Errorf("%s:\n\t%s", reason, strings.Join(what, "\n\t"))
			}
		})
	}
}

// TestRules shows each rule something that breaks it, and something like it
// that does not.
func TestRules(t *testing.T) {
	host := registryHosts()[0]
	shown := map[string]bool{}
	for _, tt := range []struct {
		rule  string
		files map[string]string // besides go.mod
		want  []string
	}{
		{"layers", map[string]string{
			"pathmap/a.go":                  `package pathmap; import _ "example.com/m/internal/diag"`,
			"bridge/a.go":                   `package bridge; import (_ "example.com/m/pathmap"; _ "example.com/m/bridge/dap"; _ "example.com/m/internal/host/peer"; _ "example.com/other/internal/agent")`,
			"bridge/dap/a.go":               "package dap\nimport _ \"example.com/m/internal/host/sshconn\"",
			"bridge/a_test.go":              `package bridge; import _ "example.com/m/internal/agent/worker"`,
			"internal/agent/swap/a.go":      `package swap; import (_ "example.com/m/internal/api"; _ "example.com/m/internal/agent/worker"; _ "example.com/m/internal/host/node")`,
			"internal/agentic/a.go":         `package agentic; import _ "example.com/m/internal/host/sshconn"`,
			"internal/api/a.go":             `package api; import (_ "example.com/m/internal/exe"; _ "example.com/m/internal/agent/swap")`,
			"internal/diag/a.go":            `package diag; import _ "example.com/m"`,
			"internal/host/serve/a.go":      `package serve; import (_ "example.com/m/internal/host/link"; _ "example.com/m/bridge"; _ "example.com/m/internal/agent/supervisor")`,
			"internal/host/sshconn/a.go":    `package sshconn; import (_ "example.com/m/internal/host/node"; _ "example.com/m/internal/host/link")`,
			"internal/host/node/testdata/a": `package node; import _ "example.com/m/bridge"`,
		}, []string{
			"bridge/dap/a.go:2: bridge/dap imports internal/host/sshconn",
			"internal/agent/swap/a.go:1: internal/agent/swap imports internal/agent/worker",
			"internal/agent/swap/a.go:1: internal/agent/swap imports internal/host/node",
			"internal/agent/swap/a.go:1: internal/agent/swap imports internal/host/node",
			"internal/api/a.go:1: internal/api imports internal/agent/swap",
			"internal/host/serve/a.go:1: internal/host/serve imports internal/agent/supervisor",
			"internal/host/sshconn/a.go:1: internal/host/sshconn imports internal/host/link",
			"pathmap/a.go:1: pathmap imports internal/diag",
		}},
		{"restrictions", map[string]string{
			"internal/agent/worker/a.go":     `package worker; import _ "github.com/go-delve/delve/service/dap"`,
			"internal/agent/supervisor/a.go": `package supervisor; import _ "github.com/go-delve/delve/service/dap"`,
			"internal/demo/a.go":             `package demo; import (_ "github.com/go-delve/delve/service/api"; _ "golang.org/x/crypto/ssh")`,
			"internal/host/node/a.go":        `package node; import _ "golang.org/x/crypto/ssh/agent"`,
			"internal/host/node/a_test.go":   `package node; import _ "golang.org/x/crypto/ssh"`,
			"internal/host/filesync/a.go":    `package filesync; import _ "github.com/fsnotify/fsnotify"`,
			"internal/host/deploy/a.go":      `package deploy; import _ "github.com/fsnotify/fsnotify"`,
			"internal/host/serve/a.go":       `package serve; import _ "example.com/m/cmd/dapbridge"`,
			"internal/host/link/a.go":        `package link; import _ "example.com/m/internal/agent/supervisor"`,
			"internal/agent/swap/a.go":       `package swap; import _ "example.com/m/internal/host/node"`,
			"cmd/dapbridge/a.go":             `package main; import (_ "example.com/m/internal/agent/supervisor"; _ "example.com/m/internal/host/serve")`,
			"e2e/a.go":                       `package e2e; import _ "github.com/go-delve/delve/service/rpc2"`,
		}, []string{
			"internal/agent/supervisor/a.go:1: internal/agent/supervisor imports github.com/go-delve/delve/service/dap",
			"internal/agent/swap/a.go:1: internal/agent/swap imports ./internal/host/node",
			"internal/host/deploy/a.go:1: internal/host/deploy imports github.com/fsnotify/fsnotify",
			"internal/host/link/a.go:1: internal/host/link imports ./internal/agent/supervisor",
			"internal/host/node/a.go:1: internal/host/node imports golang.org/x/crypto/ssh/agent",
			"internal/host/serve/a.go:1: internal/host/serve imports ./cmd/dapbridge",
		}},
		{"pure", map[string]string{
			"pathmap/a.go":      `package pathmap; import ("net/url"; "os"; "path")`,
			"pathmap/a_test.go": `package pathmap; import ("os")`,
			"bridge/a.go":       `package bridge; import ("net")`,
		}, []string{"pathmap/a.go:1: pathmap imports os"}},
		{"small", map[string]string{
			"internal/agent/swap/a.go":      `package swap; import (_ "example.com/m/internal/api"; _ "golang.org/x/sys/unix"; _ "net/http")`,
			"internal/agent/swap/a_test.go": `package swap; import _ "github.com/fsnotify/fsnotify"`,
			"internal/api/a.go":             `package api; import _ "example.com/m/internal/x"`,
			"internal/x/a.go":               `package x; import (_ "github.com/tailscale/hujson"; _ "example.com/m/internal/api")`,
			"internal/host/node/a.go":       `package node; import _ "github.com/spf13/cobra"`,
		}, []string{"internal/agent/swap depends on github.com/tailscale/hujson"}},
		{"process", map[string]string{
			"bridge/a.go":               "package bridge\nimport sys \"os\"\nvar _ = sys.Getenv(\"HOME\")\nvar _ = sys.Args\nvar _ = sys.Getpid()",
			"bridge/b.go":               `package bridge; import ("os"; "log"); func f() { os.Exit(1); log.Fatal(1); log.Println(1) }`,
			"bridge/c.go":               `package bridge; type s struct{}; func (s) Exit(int) {}; func g(os s) { os.Exit(1) }`,
			"bridge/a_test.go":          `package bridge; import "os"; var _ = os.Getenv("CI")`,
			"cmd/dapbridge/a.go":        `package main; import "os"; var _ = os.Args`,
			"docs/picture/a.go":         `package main; import "os"; var _ = os.Args`,
			"internal/demo/a.go":        `package demo; import "os"; var _ = os.Args`,
			"internal/demo/sample/a.go": `package main; import "os"; var _ = os.Args`,
		}, []string{
			"bridge/a.go:3: os.Getenv",
			"bridge/a.go:4: os.Args",
			"bridge/b.go:1: log.Fatal",
			"bridge/b.go:1: os.Exit",
			"internal/demo/a.go:1: os.Args",
		}},
		{"dot imports", map[string]string{"a.go": `package m; import . "os"`}, []string{"a.go:1: dot import"}},
		{"skips", map[string]string{
			"a_test.go":                   `package m; func f(t, x T) { t.Skip("no root"); x.Skip(); t.Fatal() }`,
			"b/b_test.go":                 `package b; func f(tb T) { tb.Skipf("no root") }`,
			"b/fuzz_test.go":              `package b; func f(t T) { t.Skip() }`,
			"internal/testenv/testenv.go": `package testenv; func f(t T) { t.Skipf("no root") }`,
		}, []string{"a_test.go:1: t.Skip", "b/b_test.go:1: tb.Skipf"}},
		{"names", map[string]string{
			"internal/util/a.go":      `package convert`,
			"internal/x/a.go":         `package types`,
			"internal/base64/a.go":    `package base64`,
			"internal/x/helpers.go":   `package x`,
			"internal/y/a_test.go":    `package common_test`,
			"internal/testdata/a.go":  `package util`,
			"other/go.mod":            `module other`,
			"other/internal/util.go":  `package util`,
			"node_modules/base/a.go":  `package base`,
			"internal/_x/types/a.go":  `package types`,
			"internal/.x/types/a.go":  `package types`,
			"internal/x/deeper/z.txt": `package types`,
		}, []string{
			"internal/util/a.go:1: package util",
			"internal/x/a.go:1: package types",
			"internal/y/a_test.go:1: package common",
		}},
		{"vars", map[string]string{
			"bridge/a.go": `package bridge
import ("errors"; "embed"; "regexp")
var ErrA, errB = errors.New("a"), errors.New("b")
var _ error = errType{}
//go:embed a.txt
var text embed.FS
var (
	// Table is a table.
	Table = map[string]int{}
	errors2 []error
	re = regexp.MustCompile("a")
)
const c = 1
func f() { var local int; _ = local }`,
			"bridge/a_test.go":         `package bridge; var update = false`,
			"cmd/dapbridge/version.go": `package main; var release string`,
		}, []string{
			"bridge/a.go:10: var errors2",
			"bridge/a.go:11: var re",
			"bridge/a.go:9: var Table",
		}},
		{"package comments", map[string]string{
			"bridge/a.go":             "// Package bridge is one.\npackage bridge",
			"bridge/b.go":             "// A licence.\n\npackage bridge",
			"internal/node/a.go":      "// A licence.\n\npackage node",
			"internal/node/b.go":      "package node",
			"internal/node/x_test.go": "// Package node is one.\npackage node",
			"e2e/a_test.go":           "package e2e",
		}, []string{"internal/node/a.go:3: package node has no comment"}},
		{"hosts", map[string]string{
			"docs/a.md": "first\nhttps://" + host + "/x",
			"binary":    "\x00" + host,
			"bin/x":     host,
		}, []string{"docs/a.md:2: " + host}},
		{"format", map[string]string{
			"a.go":          "package  m\n",
			"b.go":          "package m\r\n",
			"testdata/c.go": "package  m\n",
		}, []string{"a.go: is not formatted"}},
		{"pinned", map[string]string{
			"go.mod":   "module example.com/m\n\nreplace a => ../a\n",
			"Makefile": "lint:\n\tgo run a@v1.2.3\n\tgo run b@latest\n",
			".ci/run":  "go install c@master",
			"README":   "go install m@latest",
			"x/go.mod": "module x\nreplace a => ../a\n",
		}, []string{
			".ci/run:1: @master",
			"Makefile:3: @latest",
			"go.mod:3: replace",
		}},
		{"promises", map[string]string{
			"e2e/a_test.go":        "package e2e\nfunc TestA() {}\nfunc TestB() {}\nfunc (x) TestMethod() {}",
			"internal/x/a.go":      "package x; func TestNone() {}",
			"internal/x/b_test.go": "package x; func FuzzX() {}; func TestBoth() {}",
			"internal/y/a_test.go": "package y; func TestBoth() {}",
			"docs/other.md":        "`TestGone` (e2e)",
			promisesPage: "| `TestA`, `TestB` (e2e), `FuzzX` (internal/x) |\n" +
				"in `TestBoth`\n(internal/x, internal/y), by `TestA` and\n`TestB` (e2e)\n" +
				"| `TestA`, `TestGone` (e2e) |\n" +
				"| `TestA` (internal/x), `TestMethod` (e2e), `TestNone` (internal/x) |\n" +
				"| `TestB` | (e2e)\n",
		}, []string{
			"docs/promises.md:5: TestGone: not in e2e",
			"docs/promises.md:6: TestA: not in internal/x",
			"docs/promises.md:6: TestMethod: not in e2e",
			"docs/promises.md:6: TestNone: not in internal/x",
			"docs/promises.md:7: TestB: no package follows",
		}},
		{"links", map[string]string{
			"README.md":       "[a](docs/a.md) [b](docs/a.md#two-words--more) [c](docs/gone.md)\n![d](docs/p.png) [e](docs/) [f](https://example.com/gone.md)\n```\n[g](gone.md)\n```\n[h](docs/a.md#gone)",
			"docs/a.md":       "# Two words & more\n## Same\n## Same\n<a id=\"x\"></a>\n[a](../README.md) [b](#same-1) [c](#x) [d](README.md)\n```\n# code\n```\n[e](#code)",
			"docs/p.png":      "\x00",
			"x/testdata/a.md": "[a](gone.md)",
		}, []string{
			"README.md:1: docs/gone.md",
			"README.md:6: docs/a.md#gone",
			"docs/a.md:5: README.md",
			"docs/a.md:9: #code",
		}},
		{"paths", map[string]string{
			"CONTRIBUTING.md":   "See internal/x, `internal/x/a.go` (bridge/b.go), bridge/c.go.\ninternal/y and `internal/x/gone_test.go`, cmd/NAME.go\n```\ninternal/z\n```\n/src/internal/z, e2e/, ./internal/w",
			"internal/x/a.go":   "package x",
			"bridge/b.go":       "package bridge",
			"README.md":         "internal/y",
			"internal/x/doc.go": "package x // internal/y",
		}, []string{
			"CONTRIBUTING.md:1: bridge/c.go",
			"CONTRIBUTING.md:2: internal/x/gone_test.go",
			"CONTRIBUTING.md:2: internal/y",
			"CONTRIBUTING.md:6: internal/w",
		}},
	} {
		shown[tt.rule] = true
		t.Run(tt.rule, func(t *testing.T) {
			tree := fstest.MapFS{"go.mod": {Data: []byte("module example.com/m\n")}}
			for name, text := range tt.files {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			r, err := load(tree)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range rules()[tt.rule](r) {
				if v.reason == "" {
					t.Errorf("%s: no reason", v.what)
				}
				got = append(got, v.what)
			}
			if slices.Sort(got); !slices.Equal(got, tt.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
	for name := range rules() {
		if !shown[name] {
			t.Errorf("nothing shows that %q bites", name)
		}
	}
}
