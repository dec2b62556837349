package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/deploy"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

type deployOptions struct {
	nodeFlags
	build   string
	ldflags string
	args    []string
	relax   bool
	ready   time.Duration
	force   bool
	dryRun  bool
	output  outputFlag
}

func newDeploy(env environment) *cobra.Command {
	var o deployOptions
	cmd := withConfig(&cobra.Command{
		Use:   "deploy [DIR]",
		Short: "Run a debug build of the target on the node",
		Long: `Build the target from the source in DIR (by default this directory), unoptimised and
with debug information, upload the build, put it in place of the target's
executable and restart the target's unit. Deploy succeeds once the new process
serves; if it does not, the previous build is put back and restarted.

The original is kept on the node: dapbridge restore puts it back. Containers keep
running. If nothing has changed, nothing is built, uploaded or restarted.`,
		Example: `  cd ~/src/containerd && dapbridge deploy
  dapbridge deploy ~/src/kubernetes --target kubelet
  dapbridge deploy --arg -l --arg debug            # make containerd log more
  dapbridge deploy --relax                         # let kubelet wait while containerd is halted
  dapbridge deploy --dry-run                       # show what deploy would do
  dapbridge deploy --build 'make bin/containerd && cp bin/containerd "$OUT"'`,
		Args:    oneDirectory,
		PreRunE: setRootFromArgument,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDeploy(cmd, env, o) },
	}, env)
	o.nodeFlags.add(cmd, env)
	fs := cmd.Flags()
	fs.Lookup("root").Hidden = true // here it is the argument
	textFlag(cmd, env, &o.build, "build")
	textFlag(cmd, env, &o.ldflags, "ldflags")
	durationFlag(cmd, env, &o.ready, "ready")
	fs.StringArrayVar(&o.args, "arg", nil, "add `ARG` to the target's command line (repeatable)")
	fs.BoolVar(&o.relax, "relax", false, "let kubelet and systemd wait while the target is halted (kubelet's runtime-request-timeout, the unit's WatchdogSec)")
	fs.BoolVar(&o.force, "force", false, "deploy even if the restart ends containers")
	fs.BoolVar(&o.dryRun, "dry-run", false, "show what deploy would do, without building or changing anything")
	o.output.add(cmd)
	return cmd
}

func runDeploy(cmd *cobra.Command, env environment, o deployOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	c, err := o.config(env)
	if err != nil {
		return err
	}
	options := deploy.Options{
		Root: c.source.Root,
		Builder: &deploy.Builder{
			Dir: filepath.Join(c.source.CacheDir, "deploy"), Env: os.Environ(), Command: o.build, Out: env.err,
		},
		LDFlags: o.ldflags, DryRun: o.dryRun,
		Request:  api.DeployRequest{Args: o.args, Relax: o.relax, Ready: o.ready, Force: o.force},
		Built:    func(b *deploy.Artifact) { printBuilt(env.err, b) },
		Step:     env.swapStep,
		Progress: env.uploadProgress(),
	}
	r, err := deploy.Run(cmd.Context(), c.link, options)
	if err != nil {
		printJournal(env.err, err)
		return err
	}
	switch {
	case o.output == "json":
		return printJSON(env.out, r)
	case o.dryRun:
		printPlan(env.out, c, r, o)
	default:
		printDeployed(env.out, r)
	}
	return nil
}

func printBuilt(w io.Writer, b *deploy.Artifact) {
	fmt.Fprintf(w, "built %s: %s, %s\n", diag.Escape(path.Base(b.Path)), formatMegabytes(b.Size), formatSeconds(b.Took))
	if b.Needs.Interpreter != "" {
		fmt.Fprintf(w, "it is linked dynamically: the node checks that it has the libraries (%d)\n", len(b.Needs.Libraries))
	}
}

// uploadProgress shows the upload of a build: total is its size, and sent what was sent
// of it, which is little if the node has a previous build.
func (env environment) uploadProgress() func(sent, done, total int64) {
	var once sync.Once
	return func(sent, done, total int64) {
		once.Do(func() { env.progress.step("uploading the build (%s)", formatMegabytes(total)) })
		env.progress.update("%d %%, %s sent", 100*done/max(total, 1), formatMegabytes(sent))
	}
}

// swapStep shows the steps of the swap on the node.
func (env environment) swapStep(step api.SwapStep) {
	text := map[api.SwapStep]string{
		api.StepSavingOriginal: "keeping the original",
		api.StepEndingSession:  "ending the debug session",
		api.StepRestarting:     "restarting",
		api.StepRollingBack:    "the new build does not serve: putting the previous one back",
	}[step]
	if text == "" {
		env.progress.done()
		return
	}
	env.progress.step("%s", text)
}

// printJournal prints the last journal lines of a build that did not serve.
func printJournal(w io.Writer, err error) {
	var f *api.DeployFailure
	if !errors.As(err, &f) {
		return
	}
	for _, line := range f.Journal {
		fmt.Fprintf(w, "  %s\n", diag.Escape(line))
	}
}

func printPlan(w io.Writer, c nodeConfig, r *deploy.Result, o deployOptions) {
	s := r.State
	how := remote.Quote([]string{"sh", "-c", o.build})
	if o.build == "" {
		how = formatBuild(r.Recipe)
	}
	fmt.Fprintf(w, "build: in %s: %s\n", c.source.Root, how)
	fmt.Fprintf(w, "replace: %s on %s", diag.Escape(s.Path), c.link.SSH.Node.Name)
	if s.Kept {
		fmt.Fprint(w, ", whose original is already kept there")
	}
	if s.Session != "" {
		fmt.Fprintf(w, "\nsession: end that of %s first", diag.Escape(s.Session))
	}
	fmt.Fprintf(w, "\nrestart: %s (pid %d); %s keep running\n", diag.Escape(s.Unit), s.PID, plural(len(s.Tasks), "container process"))
	if p := recipe.PresetOf(path.Base(s.Path)); p != nil {
		fmt.Fprintf(w, "known: %s\n", p)
	}
	printReboot(w, s)
}

// formatBuild formats the build as a shell command.
func formatBuild(d *recipe.Debug) string {
	return diag.Escape(formatAssignments(d.Env) + remote.Quote(append(append([]string{"go", "build"}, d.Flags...), d.Package)))
}

// formatAssignments formats variables for a shell.
func formatAssignments(env []string) (text string) {
	for _, v := range env {
		text += v + " " // the values need no quoting
	}
	return text
}

func printReboot(w io.Writer, s api.InspectResult) {
	if s.Volatile != "" {
		fmt.Fprintf(w, "warning: a reboot may undo the deploy: %s\n", diag.Escape(s.Volatile))
	}
}

func printDeployed(w io.Writer, r *deploy.Result) {
	d := r.Deployed
	unit := diag.Escape(d.Unit)
	if r.Sent > 0 {
		what := "the whole build, compressed"
		if r.Delta {
			what = "the difference from the previous build"
		}
		fmt.Fprintf(w, "sent %s: %s\n", formatMegabytes(r.Sent), what)
	}
	if d.Served == 0 {
		fmt.Fprintf(w, "%s is already running this build (pid %d): nothing was changed\n", unit, d.PID)
		return
	}
	fmt.Fprintf(w, "%s is running the build: pid %d, serving %s after the restart; %s kept running\n", unit, d.PID, formatSeconds(d.Served), plural(len(d.Tasks)-len(d.Lost), "container process"))
	for _, t := range d.Lost {
		fmt.Fprintf(w, "warning: %s (pid %d) has ended\n", diag.Escape(t.Name), t.PID)
	}
	printReboot(w, r.State)
	fmt.Fprintln(w, "run dapbridge restore to put the original back")
}
