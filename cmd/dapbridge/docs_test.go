package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/config"
	"github.com/dapbridge/dapbridge/internal/diag"
)

const generated = "<!-- Written by go test ./cmd/dapbridge -update: change the program, not this file. -->\n\n"

// TestDocs holds the pages that are made of the program's own tables against
// these.
func TestDocs(t *testing.T) {
	for name, write := range map[string]func(io.Writer){"config.md": writeConfigPage, "troubleshooting.md": writeTroubleshooting} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			b.WriteString(generated)
			write(&b)
			checkFile(t, filepath.Join("..", "..", "docs", name), b.Bytes())
		})
	}
}

const configIntro = `# Configuration

What a flag says can also stand in a file or a variable. A value from there acts as
the flag would. Of those that say something, the first counts:

1. the flag;
2. the variable;
3. the workspace's file: ` + "`dapbridge.yaml`" + ` in the directory of ` + "`--root`" + ` or above it,
   but not above its git repository, or without one its Go module or workspace;
4. your own file: ` + "`$XDG_CONFIG_HOME/dapbridge/config.yaml`" + `, usually
   ` + "`~/.config/dapbridge/config.yaml`" + `; on macOS ` + "`~/Library/Application Support/dapbridge/config.yaml`" + `,
   on Windows ` + "`%AppData%\\dapbridge\\config.yaml`" + `;
5. the default.

` + "`dapbridge config`" + ` prints what is in force and where it is from.

` + "```yaml" + `
# ~/.config/dapbridge/config.yaml
node: ssh:devnode
local-nodes: [devnode]     # a toy, though it is not on this machine
symbols: auto
` + "```" + `

` + "```yaml" + `
# dapbridge.yaml, beside go.mod
target: kubelet
map:
  - .=/go/src/k8s.io/kubernetes
` + "```" + `

A file is YAML without anchors and aliases, of at most 64 KiB. A key that is not
known, or stands there twice, is an error. A list of a layer replaces that of the
layers below. In a variable a list is separated by commas, and an empty variable
counts as none. A path may begin with ` + "`~/`" + `; one that is not absolute is relative to
the file that it stands in, else to the current directory.

A workspace's file comes with a repository that somebody else may have written. It
may set what the table says without further ado; the rest only after you have read
it and said ` + "`dapbridge trust`" + `, and not once it has changed
([security.md](security.md)).

`

func writeConfigPage(w io.Writer) {
	io.WriteString(w, configIntro)
	fmt.Fprintln(w, "A key's flag is called like the key.\n\n| key and variable | value | default | a workspace may set it |\n| --- | --- | --- | --- |")
	for _, k := range config.Keys() {
		fmt.Fprintf(w, "| [%s](#%[1]s) `%s` | %s | %s | %s |\n", k.Name, k.Variable(), valueOf(k), code(k.Default),
			[]string{config.Free: "yes", config.AfterTrust: "after `dapbridge trust`", config.Never: "no"}[k.Workspace])
	}
	for _, k := range config.Keys() {
		fmt.Fprintf(w, "\n## %s\n\n%s.\n", k.Name, prose(k.Help))
		if commands := commandsWith(k.Name); len(commands) > 0 {
			fmt.Fprintf(w, "\nFor `%s`.\n", strings.Join(commands, "`, `"))
		}
		if k.NoFlag {
			fmt.Fprintln(w, "\nIt has no flag.")
		}
		if k.Risk != "" {
			fmt.Fprintf(w, "\nNot for every workspace: it %s.\n", k.Risk)
		}
	}
}

func valueOf(k config.Key) string {
	switch k.Kind {
	case config.Choice:
		return code(strings.Join(k.Choices, "`, `"))
	case config.Duration:
		return fmt.Sprintf("a duration such as `90s`, at least `%s`", k.Least)
	case config.Switch:
		return "`true` or `false`"
	case config.Address:
		return "`HOST:PORT` or `unix:PATH`"
	case config.Maps:
		return "a list of `HOST=NODE`, or lines `HOST: NODE`"
	case config.Hosts:
		return "a list of names or addresses"
	}
	return "a " + string(k.Kind)
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// prose makes a sentence of a flag's help, in which brackets are no links.
func prose(help string) string {
	help = strings.NewReplacer("[", `\[`, "]", `\]`).Replace(help)
	if strings.HasPrefix(help, "dapbridge") {
		return help
	}
	return strings.ToUpper(help[:1]) + help[1:]
}

// commandsWith returns the commands that have the key's flag, hidden ones too.
func commandsWith(name string) []string {
	var commands []string
	eachCommand(newRoot(environment{getenv: os.Getenv}), func(cmd *cobra.Command) {
		if cmd.Flags().Lookup(name) != nil && cmd.Name() != "config" && cmd.Name() != "demo" {
			commands = append(commands, cmd.CommandPath())
		}
	})
	slices.Sort(commands)
	return commands
}

const troubleIntro = `# Troubleshooting

When something fails, dapbridge prints what is wrong in this very case, behind
` + "`error:`" + `, and what to do, behind ` + "`hint:`" + `. This page lists the kinds of failures by
the exit status, each with its code, when it comes up, and the general remedy.
`

func writeTroubleshooting(w io.Writer) {
	io.WriteString(w, troubleIntro)
	titles := map[int]string{1: "unexpected", 2: "usage and configuration", 3: "the node", 4: "the target", 5: "this machine"}
	for exit := 1; exit <= len(titles); exit++ {
		fmt.Fprintf(w, "\n## Exit status %d: %s\n\n| code | when | what to do |\n| --- | --- | --- |\n", exit, titles[exit])
		for _, e := range diag.Catalogue() {
			if e.Exit == exit {
				fmt.Fprintf(w, "| <a id=\"%s\"></a>`%[1]s` | %s | %s |\n", e.Code, cell(diag.Explain(e.Code)), cell(prose(e.Hint)))
			}
		}
	}
	fmt.Fprintln(w, "\n130 is an interruption by Ctrl-C or SIGTERM.")
}

// cell keeps a | from ending a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
