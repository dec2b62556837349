package exe

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe/exetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestBuild(t *testing.T) {
	here, err := filepath.Abs("exetest/testdata/sleeper/main.go")
	if err != nil {
		t.Fatal(err)
	}
	trimmed := exetest.SleeperPackage + "/main.go"
	tests := []struct {
		name                    string
		args                    []string
		mainFile                string
		stripped, pie, trimpath bool
	}{
		{"plain", nil, here, false, false, false},
		{"trimpath", []string{"-trimpath"}, trimmed, false, false, true},
		{"stripped", []string{"-ldflags=-s -w"}, here, true, false, false},
		{"pie", []string{"-buildmode=pie"}, here, false, true, false},
		{"pie stripped", []string{"-buildmode=pie", "-trimpath", "-ldflags=-s -w"}, trimmed, true, true, true},
		{"debug", []string{"-gcflags=all=-N -l"}, here, false, false, false},
		{"no compression", []string{"-ldflags=-compressdwarf=false"}, here, false, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := readBuild(exetest.Build(t, "sleeper", append(test.args, "GOARCH=amd64")...))
			if err != nil {
				t.Fatal(err)
			}
			testenv.Equal(t, "build", *b, Build{
				GoVersion: runtime.Version(), MainPackage: exetest.SleeperPackage, ModulePath: "github.com/dapbridge/dapbridge",
				MainFile: test.mainFile, Stripped: test.stripped, PIE: test.pie, Trimpath: test.trimpath, Arch: "amd64",
				ModuleVersion: b.ModuleVersion, Settings: b.Settings, BuildID: b.BuildID, // checked below, or dependent on this checkout
			})
			testenv.Equal(t, "GOARCH", b.Settings["GOARCH"], "amd64")
			testenv.Equal(t, "number of slashes in the build ID", strings.Count(b.BuildID, "/"), 3)
		})
	}
}

func TestBuildOfArchitectures(t *testing.T) {
	for _, arch := range []string{"arm64", "s390x"} {
		b, err := readBuild(exetest.Build(t, "sleeper", "GOARCH="+arch))
		if err != nil || b.Arch != arch || !strings.HasSuffix(b.MainFile, "/sleeper/main.go") {
			t.Errorf("%s: %+v, %v", arch, b, err)
		}
	}
}

func TestBuildWithC(t *testing.T) {
	testenv.NeedsLinux(t, "it compiles C for Linux")
	testenv.NeedsTool(t, "gcc")
	for _, mode := range []string{"-buildmode=exe", "-buildmode=pie"} {
		for _, flags := range []string{"", "-s -w"} {
			b, err := readBuild(exetest.Build(t, "cgo", "CGO_ENABLED=1", mode, "-ldflags="+flags))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(b.MainFile, "/testdata/cgo/main.go") || b.Stripped != (flags != "") {
				t.Errorf("%s %s: %+v", mode, flags, b)
			}
		}
	}
}

// Tools like sstrip leave no section headers at all.
func TestBuildWithoutSections(t *testing.T) {
	path := exetest.Build(t, "sleeper", "-ldflags=-s -w", "GOARCH=amd64")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[0x28:0x30]) // e_shoff
	clear(data[0x3c:0x40]) // e_shnum, e_shstrndx
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := readBuild(path)
	if err != nil || !strings.HasSuffix(b.MainFile, "/sleeper/main.go") || !b.Stripped {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, os.DevNull, t.TempDir()} {
		if b, err := readBuild(path); diag.CodeOf(err) != diag.TargetNotGo {
			t.Errorf("%s: %+v, %v", path, b, err)
		}
	}
}
