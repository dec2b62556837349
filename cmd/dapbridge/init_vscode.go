package main

import (
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/vscode"
)

func newInitVSCode(env environment) *cobra.Command {
	var o initOptions
	cmd := withConfig(&cobra.Command{
		Use:   "vscode",
		Short: "Write .vscode/launch.json for VS Code",
		Long: `Add a debug configuration to .vscode/launch.json, creating the file if necessary.
Everything else in the file, including comments, stays as it is.`,
		Example: "  dapbridge init vscode\n  dapbridge init vscode --root ~/src/containerd --listen 127.0.0.1:4000",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return runInitVSCode(env, o) },
	}, env)
	o.add(cmd, env, "workspace")
	return cmd
}

func runInitVSCode(env environment, o initOptions) error {
	host, port, err := splitAddr(o.listen)
	if err != nil {
		return err
	}
	path, changed, err := vscode.Write(o.root, vscode.Launch{Name: o.name, Host: host, Port: port})
	if err != nil {
		return err
	}
	if changed {
		fmt.Fprintf(env.out, "wrote %s: run dapbridge serve, then choose %q in Run and Debug and press F5\n", path, o.name)
	} else {
		fmt.Fprintf(env.out, "%s is up to date\n", path)
	}
	if hint, missing := vscode.DelveHint(exec.LookPath); missing {
		fmt.Fprintln(env.err, hint)
	}
	return nil
}
