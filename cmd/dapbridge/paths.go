package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/pathmap"
)

type pathsOptions struct {
	nodeFlags
	maps   mapFlag
	exe    string
	output outputFlag
}

func newPaths(env environment) *cobra.Command {
	var o pathsOptions
	cmd := withConfig(&cobra.Command{
		Use:   "paths [FILE[:LINE]]",
		Short: "Show where the target's source is on this machine",
		Long: `Show the map between the source files that the target was compiled from and those on
this machine: for the main module, each dependency and the standard library, where
it was found and why. With FILE, explain one file in both directions, with the
places that were ruled out. FILE is a file on this machine, or one as the target's
binary names it.`,
		Example: `  dapbridge paths
  dapbridge paths internal/cri/server/container_create.go:60
  dapbridge paths /usr/local/go/src/net/http/server.go
  dapbridge paths google.golang.org/grpc@v1.83.2/server.go -o json
  dapbridge paths --exe bin/containerd  # for an executable on this machine`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return diag.Errorf(diag.Usage, "%s takes one file, but got %q", cmd.CommandPath(), args).WithHint("see %s --help", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPaths(cmd, env, o, strings.Join(args, ""))
		},
	}, env)
	o.nodeFlags.add(cmd, env)
	o.maps.add(cmd, env)
	cmd.Flags().StringVar(&o.exe, "exe", "", "explain the executable `FILE` on this machine instead of the target")
	cmd.MarkFlagFilename("exe")
	o.output.add(cmd)
	return cmd
}

func runPaths(cmd *cobra.Command, env environment, o pathsOptions, file string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	p, f, err := o.explain(cmd.Context(), env, file, dir)
	switch {
	case err != nil:
		return err
	case f != nil && o.output == "json":
		return printJSON(env.out, f)
	case f != nil:
		printFilePath(env.out, *f)
	case o.output == "json":
		return printJSON(env.out, p)
	default:
		printPaths(env.out, p)
	}
	return nil
}

func (o pathsOptions) explain(ctx context.Context, env environment, file, dir string) (source.Paths, *source.FilePath, error) {
	rules, err := o.maps.rules()
	if err != nil {
		return source.Paths{}, nil, err
	}
	if o.exe != "" {
		log, err := env.logger(o.logLevel)
		if err != nil {
			return source.Paths{}, nil, err
		}
		if _, err := os.Stat(o.exe); err != nil {
			return source.Paths{}, nil, diag.Errorf(diag.Usage, "--exe: %w", err)
		}
		return source.ExplainExecutable(ctx, source.Config{Root: o.root, Rules: rules, Log: log}, o.exe, file, dir)
	}
	c, err := o.config(env)
	if err != nil {
		return source.Paths{}, nil, err
	}
	c.source.Rules = rules
	return source.Explain(ctx, c.link, c.source, file, dir)
}

// mapFlag is --map.
type mapFlag []string

func (m *mapFlag) add(cmd *cobra.Command, env environment) {
	listFlag(cmd, env, (*[]string)(m), "map")
}

func (m mapFlag) rules() ([]pathmap.Rule, error) {
	var rules []pathmap.Rule
	for _, s := range m {
		rule, err := pathmap.ParseRule(s)
		if err != nil {
			return nil, diag.Errorf(diag.Usage, "--map %s: %w", s, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// newPrinter returns a function that prints a line with its arguments escaped.
func newPrinter(w io.Writer) func(format string, args ...any) {
	return func(format string, args ...any) {
		for i, arg := range args {
			if s, ok := arg.(string); ok {
				args[i] = diag.EscapeLine(s)
			}
		}
		fmt.Fprintf(w, format+"\n", args...)
	}
}

func printPaths(w io.Writer, p source.Paths) {
	line := newPrinter(w)
	t := p.Target
	which := path.Base(t.Exe) + " ("
	if t.PID != 0 {
		which += fmt.Sprintf("pid %d, ", t.PID)
	}
	line("%s%s) was compiled from %d source files; %d are on this machine", which, t.Build.GoVersion, p.Files, p.OnHost)
	if p.Problem != "" {
		fmt.Fprintf(w, "\nThe main module is not mapped: %s\n", diag.Escape(p.Problem))
	}
	if p.Problem != "" || len(p.Trees) > 0 && p.Trees[0].OnHost < p.Trees[0].Files {
		line("\ndapbridge source gets the source that the target was built from")
	}
	for _, r := range p.Own {
		line("\n%s\n  host  %s\n  node  %s", r.Reason, r.Host, r.Node)
	}
	for _, tree := range p.Trees {
		line("")
		printTree(line, tree)
		for _, l := range tree.Rejected {
			line("  not   %s: %s", l.Host, l.Why)
		}
	}
	if len(p.Unassigned) > 0 {
		line("\nnot part of a known module; shown as the node has it")
		label := "node"
		for _, dir := range p.Unassigned {
			line("  %-4s  %s", label, dir)
			label = ""
		}
	}
}

func printTree(line func(string, ...any), t source.SourceTree) {
	line("%s: %d of %d files", t.What, t.OnHost, t.Files)
	host := orDash(t.Host)
	if t.Reason != "" {
		host += " (" + t.Reason + ")"
	}
	line("  host  %s\n  node  %s", host, t.Node)
	if t.Fetch != "" {
		line("  %s", t.Fetch)
	}
}

func printFilePath(w io.Writer, f source.FilePath) {
	line := newPrinter(w)
	line("host  %s", formatPath(f.Host, f.Line, f.OnHost, "exists", "does not exist"))
	line("node  %s", formatPath(f.Node, f.Line, f.InTarget, "the binary has code for it", "the binary has no code for it"))
	if f.Tree != nil {
		line("in    %s", f.Tree.What)
	}
	printRules(line, "breakpoints, host to node", f.ToNode)
	printRules(line, "stack frames, node to host", f.ToHost)
	if len(f.Rejected) > 0 {
		line("\nother places, not used")
		for _, l := range f.Rejected {
			line("  %s: %s", l.Host, l.Why)
		}
	}
	if len(f.Similar) > 0 {
		line("\nthe binary has code for")
		for _, file := range f.Similar {
			line("  %s", file)
		}
	}
}

// formatPath formats a path, followed by yes if holds is true and by no otherwise.
func formatPath(path string, line int, holds bool, yes, no string) string {
	if path == "" {
		return "-"
	}
	if line > 0 {
		path = fmt.Sprintf("%s:%d", path, line)
	}
	if !holds {
		yes = no
	}
	return path + " (" + yes + ")"
}

// printRules prints the rule that applies and the ones that it overrides.
func printRules(line func(string, ...any), title string, rules []source.PathRule) {
	if len(rules) == 0 {
		line("\n%s: no rule applies, unchanged", title)
		return
	}
	for i, r := range rules {
		if i == 0 {
			line("\n%s", title)
		} else {
			line("  overridden, since the longest path wins")
		}
		line("  %s=%s\n    %s", r.Host, r.Node, r.Reason)
	}
}
