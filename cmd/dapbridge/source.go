package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/getsource"
)

type sourceOptions struct {
	nodeFlags
	to     string
	open   bool
	output outputFlag
}

func newSource(env environment) *cobra.Command {
	var o sourceOptions
	cmd := withConfig(&cobra.Command{
		Use:   "source [DIR]",
		Short: "Get the source that the target was built from",
		Long: `Put the source that the target was built from beside your workspace, DIR (by default
this directory), and print its path. If it is there already, only print the path.

The source is the commit that the target records, as a git worktree of the repository
around DIR; or, if that does not contain the commit, the published version that the
target records, as a copy from the module cache or your proxy. A worktree named
containerd@v2.4.2 or containerd-1c8ac2fd is added to ~/src when DIR is in
~/src/containerd. Submodules come from your repository, without the network. What the
build had and the source lacks is listed on standard error.

Your working tree stays as it is, no directory is overwritten, and nothing is run that
the repository or the node names: no hook, no filter. Files under Git LFS are pointers.
Remove a worktree with git worktree remove, a copy with rm.`,
		Example: `  dapbridge source                        # prints /home/you/src/containerd@v2.4.2
  cd "$(dapbridge source)"
  dapbridge source --open                 # in $VISUAL, or else in VS Code
  dapbridge source ~/src/kubernetes --target kubelet
  dapbridge source --to /tmp/containerd -o json`,
		Args:    oneDirectory,
		PreRunE: setRootFromArgument,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runSource(cmd, env, o) },
	}, env)
	o.nodeFlags.add(cmd, env)
	cmd.Flags().Lookup("root").Hidden = true // here it is the argument
	cmd.Flags().StringVar(&o.to, "to", "", "put the source into `DIR`, which must not exist, instead of beside the workspace")
	cmd.Flags().BoolVar(&o.open, "open", false, "open it in $VISUAL, a command whose words are separated by blanks, or else in VS Code (code)")
	cmd.MarkFlagDirname("to")
	o.output.add(cmd)
	return cmd
}

func runSource(cmd *cobra.Command, env environment, o sourceOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	var editor []string
	if o.open {
		var err error
		if editor, err = findEditor(env); err != nil {
			return err
		}
	}
	c, err := o.config(env)
	if err != nil {
		return err
	}
	r, err := getsource.Get(cmd.Context(), c.link, getsource.Config{
		Root: c.source.Root, To: o.to, Env: os.Environ(), Progress: func(step string) { env.progress.step("%s", diag.EscapeLine(step)) },
	})
	if err != nil {
		return err
	}
	env.progress.done()
	if o.output == "json" {
		err = printJSON(env.out, r)
	} else {
		err = printSource(env, r)
	}
	if err != nil || !o.open {
		return err
	}
	return runEditor(cmd.Context(), env, editor, r.Dir)
}

// printSource prints the path alone on standard output, so that a shell can use it.
func printSource(env environment, r *getsource.Result) error {
	line := newPrinter(env.err)
	verb := "is already there"
	if r.Created {
		verb = "created"
	}
	line("the source of %s (%s): %s", path.Base(r.Target.Exe), r.Source.String(), verb)
	for _, note := range r.Notes {
		line("note: %s", note)
	}
	_, err := fmt.Fprintln(env.out, r.Dir)
	return err
}

// findEditor returns the command that opens a directory.
func findEditor(env environment) ([]string, error) {
	words := strings.Fields(env.getenv("VISUAL"))
	if len(words) == 0 {
		words = []string{"code"}
	}
	file, err := exec.LookPath(words[0]) // refuses one in the current directory
	if err != nil {
		return nil, diag.Errorf(diag.Usage, "--open: %w", err).WithHint("set VISUAL to a command that opens a directory, or put VS Code's code on the PATH")
	}
	return append([]string{file}, words[1:]...), nil
}

// runEditor runs the editor in the terminal of this command, until it ends.
func runEditor(ctx context.Context, env environment, editor []string, dir string) error {
	cmd := exec.CommandContext(ctx, editor[0], append(editor[1:], dir)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.in, env.err, env.err // standard output has the path
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("--open: %s: %w", editor[0], err)
	}
	return nil
}
