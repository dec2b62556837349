package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// environment is what a command may use of its process.
type environment struct {
	args     []string
	getenv   func(string) string
	in       *os.File
	out, err io.Writer

	idleTimeout time.Duration // of a silent node; 0 means the default
	progress    *progress     // set by run
}

// run executes one command and returns the exit status.
func run(ctx context.Context, env environment) int {
	env.progress = &progress{out: env.err, terminal: env.errIsTerminal()}
	root := newRoot(env)
	root.SetArgs(env.args)
	err := root.ExecuteContext(ctx)
	env.progress.done()
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 130 // interrupted by Ctrl-C or SIGTERM
	}
	if status := exitStatus(0); errors.As(err, &status) {
		return int(status)
	}
	printError(env.err, err)
	return diag.Exit(err)
}

// exitStatus is the error of a command that has reported its result already.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// printError prints the error and its hint.
func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "error: %s\n", diag.Escape(err.Error()))
	if hint := diag.Hint(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", diag.Escape(hint))
	}
}

func newRoot(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "dapbridge",
		Short: "Debug the containerd in your minikube node from your own IDE",
		Long: `dapbridge lets an IDE on this machine debug a Go process that runs as root on a
node, first of all containerd in minikube. It needs no root on this machine and no
Delve on the node, maps source paths by itself, and releases the process unharmed
whatever happens to the IDE, the network or the debugger.`,
		Example: `  cd ~/src/containerd                # the source that the node's containerd was built from
  dapbridge symbols                  # once, if the node's containerd is stripped
  dapbridge serve                    # connect to the minikube node
  dapbridge init vscode              # write .vscode/launch.json, then press F5
  dapbridge demo                     # see it work without a node`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
		Args:          checkCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("dapbridge {{.Version}}\n")
	root.SetOut(env.out)
	root.SetErr(env.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return diag.Errorf(diag.Usage, "%w", err).WithHint("see %s --help", cmd.CommandPath())
	})
	root.AddCommand(newServe(env), newPs(env), newLogs(env), newPaths(env), newSource(env), newSymbols(env), newDeploy(env), newRestore(env), newDoctor(env), newSync(env), newStatus(env), newInit(env), newConfig(env), newTrust(env), newDemo(env), newVersion(env), newToolexec(env), newRsh(env), newMan(env))
	if agent := newAgent(env); agent != nil {
		root.AddCommand(agent)
	}
	return root
}

// checkCommand refuses an unknown command, and suggests similar ones.
func checkCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := diag.Errorf(diag.Usage, "unknown command %q", args[0])
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		return err.WithHint("did you mean %s?", strings.Join(like, " or "))
	}
	return err
}

// noArgs refuses arguments. Unlike cobra's, its error has a hint and an exit status.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return diag.Errorf(diag.Usage, "%s takes no arguments, but got %q", cmd.CommandPath(), args).
			WithHint("see %s --help", cmd.CommandPath())
	}
	return nil
}

// oneDirectory refuses more than one argument.
func oneDirectory(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return diag.Errorf(diag.Usage, "%s takes one directory, but got %q", cmd.CommandPath(), args).
			WithHint("see %s --help", cmd.CommandPath())
	}
	return nil
}

// setRootFromArgument sets --root to the argument, if there is one, before the
// configuration is loaded.
func setRootFromArgument(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return cmd.Flags().Set("root", args[0])
	}
	return nil
}

// logger returns a logger that writes to the command's standard error.
func (env environment) logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, diag.Errorf(diag.Usage, "--log-level %q: choose debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(env.err, &slog.HandlerOptions{Level: l})), nil
}

// errIsTerminal reports whether messages go to a terminal.
func (env environment) errIsTerminal() bool {
	f, ok := env.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// outIsTerminal reports whether results go to a terminal.
func (env environment) outIsTerminal() bool {
	f, ok := env.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// outputFlag is -o: text or json.
type outputFlag string

func (o *outputFlag) add(cmd *cobra.Command) {
	*o = "text"
	cmd.Flags().StringVarP((*string)(o), "output", "o", "text", "output `FORMAT`: text or json")
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses an unknown format.
func (o outputFlag) check() error {
	if o != "text" && o != "json" {
		return diag.Errorf(diag.Usage, "-o %s: choose text or json", string(o))
	}
	return nil
}

// printJSON prints v as one line without characters that control a terminal. JSON
// itself escapes only those below U+0020.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	var line strings.Builder
	for _, r := range b.String() { // characters other than ASCII occur only in strings
		switch {
		case r < unicode.MaxASCII || unicode.IsPrint(r):
			line.WriteRune(r)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&line, `\u%04x`, unit)
			}
		}
	}
	_, err := io.WriteString(w, line.String())
	return err
}
