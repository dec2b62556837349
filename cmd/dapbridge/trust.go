package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/config"
)

type trustOptions struct {
	list   bool
	remove bool
	output outputFlag
}

func newTrust(env environment) *cobra.Command {
	var o trustOptions
	cmd := &cobra.Command{
		Use:   "trust [FILE|DIR]",
		Short: "Trust a workspace's dapbridge.yaml",
		Long: `Let a workspace's dapbridge.yaml set the keys that run programs, listen, connect or
widen access, and list those that it sets. The file is FILE, or the one that applies
to DIR (by default this directory). Trust covers this path and the present content:
a changed file is refused until you trust it again.`,
		Example: `  dapbridge trust
  dapbridge trust ~/src/containerd
  dapbridge trust --list
  dapbridge trust --remove ~/src/containerd`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || o.list && len(args) > 0 {
				return diag.Errorf(diag.Usage, "%s takes one file or directory, and none with --list, but got %q", cmd.CommandPath(), args).
					WithHint("see %s --help", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return runTrust(env, o, append(args, ".")[0])
		},
	}
	cmd.Flags().BoolVar(&o.list, "list", false, "list the trusted files")
	cmd.Flags().BoolVar(&o.remove, "remove", false, "stop trusting the file")
	cmd.MarkFlagsMutuallyExclusive("list", "remove")
	o.output.add(cmd)
	return cmd
}

func runTrust(env environment, o trustOptions, arg string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	src, err := env.configSources()
	if err != nil {
		return err
	}
	if src.TrustFile == "" {
		return diag.Errorf(diag.Usage, "there is no home directory for the list of trusted files").WithHint("set HOME")
	}
	trust := config.Trust{File: src.TrustFile}
	if o.list {
		return listTrusted(env.out, trust, o.output)
	}
	if o.remove {
		return removeTrusted(env.out, trust, arg, o.output)
	}
	path, err := findWorkspaceFile(arg)
	if err != nil {
		return err
	}
	w, err := config.ReadWorkspace(path)
	if err != nil {
		return err
	}
	if err := trust.Add(w); err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(env.out, config.Pin{Path: w.Path, Sum: w.Sum})
	}
	printTrusted(env.out, w)
	return nil
}

func printTrusted(out io.Writer, w *config.Workspace) {
	need := w.NeedTrust()
	if len(need) == 0 {
		fmt.Fprintf(out, "trusted %s, which sets nothing that needs trust\n", quoteIfNeeded(w.Path))
		return
	}
	fmt.Fprintf(out, "trusted %s with its present content, which sets:\n", quoteIfNeeded(w.Path))
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, v := range need {
		fmt.Fprintf(t, "  line %d\t%s: %s\t%s\n", v.Origin.Line, v.Key.Name, quoteIfNeeded(v.String()), v.Key.Risk)
	}
	t.Flush()
}

// findWorkspaceFile returns the file that the argument stands for.
func findWorkspaceFile(arg string) (string, error) {
	path, err := filepath.Abs(arg)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", diag.Errorf(diag.Usage, "find the workspace file: %w", err).WithHint("name a %s or its directory", config.WorkspaceName)
	}
	if !info.IsDir() {
		if filepath.Base(path) != config.WorkspaceName {
			return "", diag.Errorf(diag.Usage, "%s is not a workspace file, which must be called %s", path, config.WorkspaceName).
				WithHint("name a %s or its directory", config.WorkspaceName)
		}
		return path, nil
	}
	found := config.FindWorkspace(path)
	if found == "" {
		return "", diag.Errorf(diag.Usage, "%s has no %s, nor have the directories above it in its repository", path, config.WorkspaceName).
			WithHint("name a %s or its directory", config.WorkspaceName)
	}
	return found, nil
}

// removeTrusted removes a file from the list, even if the file no longer exists.
func removeTrusted(out io.Writer, trust config.Trust, arg string, output outputFlag) error {
	path, err := findWorkspaceFile(arg)
	if err != nil {
		if path, err = filepath.Abs(arg); err != nil {
			return err
		}
		if filepath.Base(path) != config.WorkspaceName {
			path = filepath.Join(path, config.WorkspaceName)
		}
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	found, err := trust.Remove(path)
	switch {
	case err != nil:
		return err
	case !found:
		return diag.Errorf(diag.Usage, "%s is not trusted", path).WithHint("see dapbridge trust --list")
	case output == "json":
		return printJSON(out, map[string]string{"removed": path})
	}
	_, err = fmt.Fprintf(out, "%s is no longer trusted\n", quoteIfNeeded(path))
	return err
}

// trustedFile is an element of trust --list -o json.
type trustedFile struct {
	config.Pin
	State string `json:"state"` // trusted, changed or gone
}

func listTrusted(out io.Writer, trust config.Trust, output outputFlag) error {
	pins, err := trust.List()
	if err != nil {
		return err
	}
	files := []trustedFile{}
	for _, p := range pins {
		files = append(files, trustedFile{p, stateOf(p)})
	}
	if output == "json" {
		return printJSON(out, files)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STATE\tSHA256\tFILE")
	for _, f := range files {
		fmt.Fprintf(t, "%s\t%.12s\t%s\n", f.State, quoteIfNeeded(f.Sum), quoteIfNeeded(f.Path))
	}
	return t.Flush()
}

func stateOf(p config.Pin) string {
	if _, err := os.Lstat(p.Path); errors.Is(err, fs.ErrNotExist) {
		return "gone"
	}
	if w, err := config.ReadWorkspace(p.Path); err != nil || w.Sum != p.Sum {
		return "changed"
	}
	return "trusted"
}
