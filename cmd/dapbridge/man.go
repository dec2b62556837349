package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// newMan returns the hidden command that writes the manual pages, for packagers and
// for users of go install; make man runs it.
func newMan(env environment) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return diag.Errorf(diag.Usage, "%s takes one directory to write to", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := writeManual(newRoot(env), args[0]); err != nil {
				return diag.Errorf(diag.WriteFailed, "write the manual pages: %w", err)
			}
			return nil
		},
	}
}

// writeManual writes a page for cmd and for each of its visible subcommands.
func writeManual(cmd *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, pageName(cmd)+".1"), []byte(formatPage(cmd)), 0o644); err != nil {
		return err
	}
	for _, sub := range visibleCommands(cmd) {
		if err := writeManual(sub, dir); err != nil {
			return err
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func visibleCommands(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
}

// formatPage returns cmd's page in the language of groff_man(7), in the order of
// man-pages(7). It does not use cobra's generator, which goes through Markdown and
// takes "[:PORT] (default" for a link.
func formatPage(cmd *cobra.Command) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	cmd.InitDefaultHelpFlag()
	line(`.TH %s 1 "" "dapbridge %s"`, strings.ToUpper(escapeRoff(pageName(cmd))), escapeRoff(version()))
	line(".nh\n.ad l") // neither hyphenate nor justify
	line(".SH NAME\n%s \\- %s", escapeRoff(pageName(cmd)), escapeRoff(cmd.Short))
	line(".SH SYNOPSIS\n.B %s", escapeRoff(cmd.UseLine()))
	line(".SH DESCRIPTION")
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	line("%s", strings.ReplaceAll(escapeRoff(text), "\n\n", "\n.PP\n"))
	line(".SH OPTIONS")
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			line(".TP\n%s\n%s", formatFlag(f), escapeRoff(formatUsage(f)))
		}
	})
	line(".SH EXAMPLES\n.EX\n%s\n.EE", escapeRoff(cmd.Example))
	if !cmd.HasParent() {
		b.WriteString(rootSections)
	}
	var others []string
	if cmd.HasParent() {
		others = append(others, pageName(cmd.Parent()))
	}
	for _, sub := range visibleCommands(cmd) {
		others = append(others, pageName(sub))
	}
	for i, name := range others {
		others[i] = ".BR " + escapeRoff(name) + " (1)"
	}
	line(".SH SEE ALSO\n%s", strings.Join(others, ",\n"))
	return b.String()
}

// rootSections are in the page of dapbridge itself only.
const rootSections = `.SH EXIT STATUS
0 success, 1 unexpected, 2 usage or configuration, 3 the node, 4 the target,
5 this machine, 130 interrupted.
.SH ENVIRONMENT
.TP
.BI DAPBRIDGE_ KEY
sets a key of the configuration like its flag; dapbridge config prints all keys
.TP
.B MINIKUBE_HOME
where minikube keeps its profiles
.SH FILES
.TP
.I \(ti/.config/dapbridge/config.yaml
your own configuration
.TP
.I dapbridge.yaml
the configuration of a workspace
.TP
.I \(ti/.local/state/dapbridge/
pinned host keys, and which workspaces are trusted
`

func formatFlag(f *pflag.Flag) string {
	name := `\fB` + escapeRoff("--"+f.Name) + `\fR`
	if f.Shorthand != "" {
		name = `\fB` + escapeRoff("-"+f.Shorthand) + `\fR, ` + name
	}
	if value, _ := pflag.UnquoteUsage(f); value != "" {
		name += ` \fI` + escapeRoff(value) + `\fR`
	}
	return name
}

func formatUsage(f *pflag.Flag) string {
	_, help := pflag.UnquoteUsage(f)
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
		return help
	}
	return help + " (default " + f.DefValue + ")"
}

// escapeRoff escapes text so that groff shows it unchanged, and that commands copied
// from a terminal can be run (groff_man_style(7), "Portability").
func escapeRoff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
