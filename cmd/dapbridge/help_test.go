package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestHelp compares the help of every command with its golden file, so that reviewers
// see each change.
func TestHelp(t *testing.T) {
	eachCommand(newRoot(environment{getenv: os.Getenv}), func(cmd *cobra.Command) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			var out bytes.Buffer
			args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
			if status := run(t.Context(), environment{args: args, getenv: os.Getenv, out: &out, err: &out}); status != 0 {
				t.Fatalf("exit status %d", status)
			}
			checkGolden(t, filepath.Join("help", strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".txt"), out.Bytes())
			if cmd.Example == "" {
				t.Error("no examples")
			}
		})
	})
}

// checkGolden compares an output with its golden file in testdata.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	checkFile(t, filepath.Join("testdata", name), got)
}

// checkFile compares an output with a file.
func checkFile(t *testing.T, golden string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the output changed (go test ./cmd/dapbridge -update):\n%s", got)
	}
}

// eachCommand calls visit for cmd and all visible commands below it.
func eachCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			eachCommand(sub, visit)
		}
	}
}
