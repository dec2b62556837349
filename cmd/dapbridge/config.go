package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/host/config"
)

func newConfig(env environment) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the effective configuration, and where each value is set",
		Long: `Print the values in effect for the source in this directory, or in --root DIR, and
where each is set. The first source that sets a key wins: a flag, the environment
variable DAPBRIDGE_KEY, the workspace's dapbridge.yaml, your own configuration, the
default. The keys are named like the flags below; docs/config.md describes them, and
which ones a workspace's file may set.`,
		Example: `  dapbridge config
  dapbridge config --root ~/src/containerd -o json
  DAPBRIDGE_NODE=ssh:devnode dapbridge config`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runConfig(cmd, env, output) },
	}
	for _, k := range config.Keys() {
		switch {
		case k.List():
			listFlag(cmd, env, new([]string), k.Name)
		case k.Kind == config.Switch:
			switchFlag(cmd, env, new(bool), k.Name)
		case k.Kind == config.Duration:
			durationFlag(cmd, env, new(time.Duration), k.Name)
		default:
			textFlag(cmd, env, new(string), k.Name)
		}
	}
	output.add(cmd)
	return cmd
}

func runConfig(cmd *cobra.Command, env environment, output outputFlag) error {
	if err := output.check(); err != nil {
		return err
	}
	s, err := env.loadConfig(cmd)
	if err != nil {
		return err
	}
	src, err := env.configSources()
	if err != nil {
		return err
	}
	if output == "json" {
		return printJSON(env.out, newConfigJSON(s, src.UserFile))
	}
	return printConfig(env.out, s, src.UserFile)
}

func printConfig(out io.Writer, s *config.Settings, userFile string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tVALUE\tFROM")
	for _, v := range s.All() {
		name := v.Key.Name
		for _, text := range append(v.Text, "")[:max(1, len(v.Text))] {
			fmt.Fprintf(w, "%s\t%s\t%s\n", name, quoteIfNeeded(text), quoteIfNeeded(v.From()))
			name = "" // for the other values of a list
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	workspace := "none (no " + config.WorkspaceName + ")"
	switch {
	case s.Trusted:
		workspace = quoteIfNeeded(s.Workspace) + " (trusted)"
	case s.Workspace != "":
		workspace = quoteIfNeeded(s.Workspace)
	}
	_, err := fmt.Fprintf(out, "\nworkspace file: %s\nyour own file:  %s\n", workspace, quoteIfNeeded(userFile))
	return err
}

// quoteIfNeeded returns text, quoted if it contains characters that do not print, or
// "-" if it is empty.
func quoteIfNeeded(text string) string {
	switch {
	case text == "":
		return "-"
	case strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) >= 0:
		return strconv.Quote(text)
	}
	return text
}

// configJSON is what config -o json prints.
type configJSON struct {
	Workspace string        `json:"workspace,omitempty"` // the workspace's file
	Trusted   bool          `json:"trusted"`
	User      string        `json:"user"` // the user's own file, which may not exist
	Values    []configValue `json:"values"`
}

type configValue struct {
	Key   string       `json:"key"`
	Value any          `json:"value"` // a list of strings, a bool, or a string
	Layer config.Layer `json:"layer"`
	From  string       `json:"from"` // in the user's terms
	File  string       `json:"file,omitempty"`
	Line  int          `json:"line,omitempty"`
}

func newConfigJSON(s *config.Settings, userFile string) configJSON {
	c := configJSON{Workspace: s.Workspace, Trusted: s.Trusted, User: userFile}
	for _, v := range s.All() {
		value := any(v.String())
		switch {
		case v.Key.List():
			value = append([]string{}, v.Text...)
		case v.Key.Kind == config.Switch:
			value = v.String() == "true"
		}
		c.Values = append(c.Values, configValue{v.Key.Name, value, v.Origin.Layer, v.From(), v.Origin.File, v.Origin.Line})
	}
	return c
}
