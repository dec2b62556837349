// Package exetest builds small programs for tests that read executables.
package exetest

import (
	"os/exec"
	"path/filepath"
	"testing"
)

const programs = "github.com/dapbridge/dapbridge/internal/exe/exetest/testdata/"

// SleeperPackage is the import path of the sleeper program.
const SleeperPackage = programs + "sleeper"

// Build builds a program of testdata for Linux and returns its path. Arguments
// that start with a capital letter are environment variables, others go to go build.
func Build(t testing.TB, program string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), program)
	cmd := exec.Command("go", "build", "-o", out)
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	for _, arg := range args {
		if arg[0] >= 'A' && arg[0] <= 'Z' {
			cmd.Env = append(cmd.Env, arg)
		} else {
			cmd.Args = append(cmd.Args, arg)
		}
	}
	cmd.Args = append(cmd.Args, programs+program)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
	return out
}
