package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/source"
)

// TestPrintPaths compares the text output with its golden files.
func TestPrintPaths(t *testing.T) {
	grpc := source.SourceTree{
		What: "module google.golang.org/grpc v1.83.2", Node: "/build/vendor/google.golang.org/grpc",
		Host: "/home/me/go/pkg/mod/google.golang.org/grpc@v1.83.2", Reason: "the version that was built, in the module cache",
		Files: 12, OnHost: 12, Rejected: []source.RejectedPlace{{Host: "/home/me/containerd/vendor/google.golang.org/grpc", Why: "vendored as google.golang.org/grpc v1.80.0"}},
	}
	main := source.PathRule{Host: "/home/me/containerd", Node: "/build", Way: "both", Reason: "main module github.com/containerd/containerd/v2"}
	whole := source.Paths{
		Target: api.Target{Process: api.Process{PID: 812, Exe: "/usr/local/bin/containerd"}, Build: exe.Build{GoVersion: "go1.25.1"}},
		Files:  60, OnHost: 42,
		Own: []source.PathRule{{Host: "/home/me/fork", Node: "/build/core", Way: "both", Reason: "--map"}},
		Trees: []source.SourceTree{
			{What: main.Reason, Host: main.Host, Node: main.Node, Files: 30, OnHost: 30},
			{What: "module example.com/secret v1.0.0", Host: "/home/me/go/pkg/mod/example.com/secret@v1.0.0", Node: "/build/vendor/example.com/secret", Reason: "the version that was built, which is not in the module cache", Files: 3, Fetch: "not fetched: it is private (GONOPROXY)"},
			grpc,
			{What: "standard library go1.25.1", Node: "/usr/local/go/src", Files: 14},
		},
		Unassigned: []string{"_cgo_gotypes.go", "/tmp/go-build1\x1b[31m/b001"},
	}
	partial := whole
	partial.Own, partial.Unassigned, partial.Trees, partial.OnHost = nil, nil, []source.SourceTree{whole.Trees[0]}, 29
	partial.Trees[0].OnHost = 29
	unmapped := whole
	unmapped.Trees, unmapped.Own, unmapped.Unassigned, unmapped.OnHost = nil, nil, nil, 0
	unmapped.Problem = "the target's main module is github.com/containerd/containerd/v2, and no go.mod was found on the host"
	rule := source.PathRule{Host: grpc.Host, Node: grpc.Node, Way: "both", Reason: grpc.What + ": " + grpc.Reason}
	for name, print := range map[string]func(*bytes.Buffer){
		"map":     func(b *bytes.Buffer) { printPaths(b, whole) },
		"partial": func(b *bytes.Buffer) { printPaths(b, partial) },
		"no-root": func(b *bytes.Buffer) { printPaths(b, unmapped) },
		"file": func(b *bytes.Buffer) {
			printFilePath(b, source.FilePath{
				Line: 9, Host: grpc.Host + "/server.go", OnHost: true, Node: grpc.Node + "/server.go", InTarget: true, Tree: &grpc,
				ToNode: []source.PathRule{rule}, ToHost: []source.PathRule{rule, main},
				Rejected: []source.RejectedPlace{{Host: grpc.Rejected[0].Host + "/server.go", Why: grpc.Rejected[0].Why}},
			})
		},
		"no-file": func(b *bytes.Buffer) {
			printFilePath(b, source.FilePath{Host: "/elsewhere/a.go", Node: "/elsewhere/a.go", Similar: []string{"/build/a.go", "/build/b/a.go"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			print(&out)
			checkGolden(t, filepath.Join("paths", name+".txt"), out.Bytes())
		})
	}
}
