package main

import (
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
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

// initOptions are the flags of init's subcommands.
type initOptions struct {
	root   string
	listen string
	name   string
}

// add defines the flags; project is what the IDE calls its directory.
func (o *initOptions) add(cmd *cobra.Command, env environment, project string) {
	textFlag(cmd, env, &o.root, "root")
	textFlag(cmd, env, &o.listen, "listen")
	cmd.Flags().Lookup("root").Usage = "write to the " + project + " in `DIR`"
	cmd.Flags().Lookup("listen").Usage = "have the IDE connect to `ADDRESS`, where dapbridge serve listens"
	cmd.Flags().StringVar(&o.name, "name", "dapbridge: containerd", "call the configuration `NAME`")
}

// splitAddr splits the value of --listen, which must be a TCP address.
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
