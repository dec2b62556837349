package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManual formats each page with groff, and checks that it contains the help.
func TestManual(t *testing.T) {
	testenv.NeedsTool(t, "groff")
	dir := filepath.Join(t.TempDir(), "man1")
	if status, out, err := invoke(t, "man", dir); status != 0 {
		t.Fatalf("exit status %d\n%s%s", status, out, err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	eachCommand(newRoot(environment{getenv: os.Getenv}), func(cmd *cobra.Command) {
		page := filepath.Join(dir, pageName(cmd)+".1")
		groff := exec.Command("groff", "-man", "-ww", "-Tascii", "-P-cbou", page)
		var complaints strings.Builder
		groff.Stderr = &complaints
		shown, err := groff.Output()
		if err != nil || complaints.Len() > 0 {
			t.Errorf("%s: %v\n%s", page, err, complaints.String())
		}
		pages = pages[1:]
		text := squeeze(string(shown))
		want := []string{cmd.Short, cmd.Long, cmd.Example}
		if !cmd.HasParent() {
			want = append(want, "EXIT STATUS", "DAPBRIDGE_KEY", "~/.config/dapbridge/config.yaml")
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				_, usage := pflag.UnquoteUsage(f)
				want = append(want, "--"+f.Name, usage)
			}
		})
		for _, w := range want {
			if !strings.Contains(text, squeeze(w)) {
				t.Errorf("%s lacks %q:\n%s", page, w, shown)
			}
		}
	})
	if len(pages) > 0 {
		t.Errorf("there are %d pages without a command", len(pages))
	}
	if status, _, _ := invoke(t, "man", "/dev/null/x"); status != 5 {
		t.Errorf("with an invalid directory: exit status %d, want 5", status)
	}
}

func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		`C:\x --flag`:     `C:\ex \-\-flag`,
		".TH\n.SH x\n'br": `\&.TH` + "\n" + `\&.SH x` + "\n" + `\(aqbr`,
		"~/a `b` \"c\" ^": `\(ti/a \(gab\(ga \(dqc\(dq \(ha`,
	} {
		if got := escapeRoff(text); got != want {
			t.Errorf("escapeRoff(%q) = %s, want %s", text, got, want)
		}
	}
}

// squeeze removes all space, so that line breaks do not matter.
func squeeze(text string) string { return strings.Join(strings.Fields(text), "") }
