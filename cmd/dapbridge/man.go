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

// newMan writes the manual pages, for packages and for who has installed by go
// install; make man calls it.
func newMan(env environment) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return diag.Errorf(diag.Usage, "%s takes the directory to write to", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := writeManual(newRoot(env), args[0]); err != nil {
				return diag.Errorf(diag.WriteFailed, "the manual pages: %w", err)
			}
			return nil
		},
	}
}

// writeManual writes a page for cmd and each command below it that users are
// offered.
func writeManual(cmd *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, pageName(cmd)+".1"), []byte(manualPage(cmd)), 0o644); err != nil {
		return err
	}
	for _, sub := range offeredCommands(cmd) {
		if err := writeManual(sub, dir); err != nil {
			return err
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func offeredCommands(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
}

// manualPage returns cmd's page in the language of groff_man(7), by the order of
// man-pages(7). Not by cobra's own generator: it goes through Markdown, which
// takes "[:PORT] (default" for a link.
func manualPage(cmd *cobra.Command) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	cmd.InitDefaultHelpFlag()
	line(`.TH %s 1 "" "dapbridge %s"`, strings.ToUpper(roff(pageName(cmd))), roff(version()))
	line(".nh\n.ad l") // neither hyphens nor gaps that nobody has written
	line(".SH NAME\n%s \\- %s", roff(pageName(cmd)), roff(cmd.Short))
	line(".SH SYNOPSIS\n.B %s", roff(cmd.UseLine()))
	line(".SH DESCRIPTION")
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	line("%s", strings.ReplaceAll(roff(text), "\n\n", "\n.PP\n"))
	line(".SH OPTIONS")
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			line(".TP\n%s\n%s", manualFlag(f), roff(manualHelp(f)))
		}
	})
	line(".SH EXAMPLES\n.EX\n%s\n.EE", roff(cmd.Example))
	if !cmd.HasParent() {
		b.WriteString(ofAllCommands)
	}
	var others []string
	if cmd.HasParent() {
		others = append(others, pageName(cmd.Parent()))
	}
	for _, sub := range offeredCommands(cmd) {
		others = append(others, pageName(sub))
	}
	for i, name := range others {
		others[i] = ".BR " + roff(name) + " (1)"
	}
	line(".SH SEE ALSO\n%s", strings.Join(others, ",\n"))
	return b.String()
}

// ofAllCommands stands in the first page alone.
const ofAllCommands = `.SH EXIT STATUS
0 success, 1 unexpected, 2 usage or configuration, 3 the node, 4 the target,
5 this machine, 130 interrupted.
.SH ENVIRONMENT
.TP
.BI DAPBRIDGE_ KEY
sets a key of the configuration, as its flag would; dapbridge config prints them
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

func manualFlag(f *pflag.Flag) string {
	name := `\fB` + roff("--"+f.Name) + `\fR`
	if f.Shorthand != "" {
		name = `\fB` + roff("-"+f.Shorthand) + `\fR, ` + name
	}
	if value, _ := pflag.UnquoteUsage(f); value != "" {
		name += ` \fI` + roff(value) + `\fR`
	}
	return name
}

func manualHelp(f *pflag.Flag) string {
	_, help := pflag.UnquoteUsage(f)
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
		return help
	}
	return help + " (default " + f.DefValue + ")"
}

// roff returns text such that groff shows it as it is, and so that what is
// copied from a terminal can be run (groff_man_style(7), "Portability").
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
