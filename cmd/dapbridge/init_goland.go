package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/goland"
)

func newInitGoLand(env environment) *cobra.Command {
	var o initOptions
	cmd := withConfig(&cobra.Command{
		Use:   "goland",
		Short: "Write .run/dapbridge.run.xml for GoLand",
		Long: `Write a run configuration of type Go Remote to .run/dapbridge.run.xml, a file of its
own. IntelliJ IDEA with the Go plugin reads it too.`,
		Example: "  dapbridge init goland\n  dapbridge init goland --root ~/src/containerd --listen 127.0.0.1:4000",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return runInitGoLand(env, o) },
	}, env)
	o.add(cmd, env, "project")
	return cmd
}

func runInitGoLand(env environment, o initOptions) error {
	host, port, err := splitAddr(o.listen)
	if err != nil {
		return err
	}
	path, changed, err := goland.Write(o.root, goland.Remote{Name: o.name, Host: host, Port: port})
	if err != nil {
		return err
	}
	if changed {
		fmt.Fprintf(env.out, "wrote %s: run dapbridge serve, then choose %q in Run > Debug\n", path, o.name)
	} else {
		fmt.Fprintf(env.out, "%s is up to date\n", path)
	}
	return nil
}
