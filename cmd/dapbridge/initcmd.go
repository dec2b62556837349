package main

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/goland"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/vscode"
)

func newInit(env environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Write the IDE's debug configuration",
		Example: "  dapbridge init vscode\n  dapbridge init goland",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return diag.Errorf(diag.Usage, "unknown IDE %q", args[0]).WithHint("see dapbridge init --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newInitVSCode(env), newInitGoLand(env))
	return cmd
}

func newInitVSCode(env environment) *cobra.Command {
	var root, listen, name string
	cmd := withConfig(&cobra.Command{
		Use:   "vscode",
		Short: "Write .vscode/launch.json for VS Code",
		Long: `Add a debug configuration to .vscode/launch.json, creating the file if necessary.
Everything else in the file, including comments, stays as it is.`,
		Example: "  dapbridge init vscode\n  dapbridge init vscode --root ~/src/containerd --listen 127.0.0.1:4000",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			host, port, err := splitAddr(listen)
			if err != nil {
				return err
			}
			path, changed, err := vscode.Write(root, vscode.Launch{Name: name, Host: host, Port: port})
			if err != nil {
				return err
			}
			if changed {
				fmt.Fprintf(env.out, "wrote %s: run dapbridge serve, then choose %q in Run and Debug and press F5\n", path, name)
			} else {
				fmt.Fprintf(env.out, "%s is up to date\n", path)
			}
			if hint, missing := vscode.DelveHint(exec.LookPath); missing {
				fmt.Fprintln(env.err, hint)
			}
			return nil
		},
	}, env)
	textFlag(cmd, env, &root, "root")
	textFlag(cmd, env, &listen, "listen")
	cmd.Flags().Lookup("root").Usage = "write to the workspace in `DIR`"
	cmd.Flags().Lookup("listen").Usage = "have the IDE connect to `ADDRESS`, where dapbridge serve listens"
	cmd.Flags().StringVar(&name, "name", "dapbridge: containerd", "call the configuration `NAME`")
	return cmd
}

func newInitGoLand(env environment) *cobra.Command {
	var root, listen, name string
	cmd := withConfig(&cobra.Command{
		Use:   "goland",
		Short: "Write .run/dapbridge.run.xml for GoLand",
		Long: `Write a run configuration of type Go Remote to .run/dapbridge.run.xml, a file of its
own. IntelliJ IDEA with the Go plugin reads it too.`,
		Example: "  dapbridge init goland\n  dapbridge init goland --root ~/src/containerd --listen 127.0.0.1:4000",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			host, port, err := splitAddr(listen)
			if err != nil {
				return err
			}
			path, changed, err := goland.Write(root, goland.Remote{Name: name, Host: host, Port: port})
			if err != nil {
				return err
			}
			if changed {
				fmt.Fprintf(env.out, "wrote %s: run dapbridge serve, then choose %q in Run > Debug\n", path, name)
			} else {
				fmt.Fprintf(env.out, "%s is up to date\n", path)
			}
			return nil
		},
	}, env)
	textFlag(cmd, env, &root, "root")
	textFlag(cmd, env, &listen, "listen")
	cmd.Flags().Lookup("root").Usage = "write to the project in `DIR`"
	cmd.Flags().Lookup("listen").Usage = "have the IDE connect to `ADDRESS`, where dapbridge serve listens"
	cmd.Flags().StringVar(&name, "name", "dapbridge: containerd", "call the configuration `NAME`")
	return cmd
}

func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err != nil || port < 1 || port > 65535 {
		return "", 0, diag.Errorf(diag.Usage, "--listen %s is not HOST:PORT", addr).WithHint("the IDE needs a TCP port: run dapbridge serve on one")
	}
	return host, port, nil
}
