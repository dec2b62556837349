//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

type upOptions struct {
	node     testbed.Options
	output   string
	noSource bool
}

func newUp(s streams, w *nodeFlags) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Boot a node and print how to reach it",
		Example: `  testnode up
  testnode up --owner 1000 --containerd static
  testnode up --name second -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd, s, *w, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.node.Containerd, "containerd", parts.Make, "flavour of containerd: "+strings.Join(parts.Flavours(), ", "))
	flags.IntVar(&o.node.Owner, "owner", 0, "uid of the user who can reach the node")
	flags.StringVar(&o.node.Cache, "cache", "", "directory of built parts (default: $"+testbed.CacheVariable+" or in the user's cache directory)")
	flags.BoolVar(&o.node.NoKubelet, "no-kubelet", false, "omit the kubelet")
	flags.BoolVar(&o.noSource, "no-source", false, "do not copy containerd's source for the developer")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func runUp(cmd *cobra.Command, s streams, w nodeFlags, o upOptions) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("--output %s: want text or json", o.output)
	}
	ctx := cmd.Context()
	o.node.Name, o.node.State, o.node.Log = w.name, w.state, s.err
	n, err := testbed.Up(ctx, o.node)
	if err != nil {
		return err
	}
	d := describe(n)
	if !o.noSource {
		d.UserSource = filepath.Join(n.Dir(), "source", "containerd")
		if err := n.UserSource(ctx, n.Containerd(), d.UserSource, n.Owner()); err != nil {
			return fmt.Errorf("copy containerd's source (the node is up): %w", err)
		}
	}
	if o.output == "json" {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		return e.Encode(d)
	}
	return d.write(s.out)
}

// description describes a node to its user.
type description struct {
	Name              string   `json:"name"`
	Address           string   `json:"address"`
	SSHAddress        string   `json:"sshAddress"`
	User              string   `json:"user"`
	MinikubeHome      string   `json:"minikubeHome"`
	KeyFile           string   `json:"keyFile"`
	KnownHostsFile    string   `json:"knownHostsFile"`
	SSHCommand        []string `json:"sshCommand"`
	Owner             int      `json:"owner"`
	Containerd        string   `json:"containerd"`
	ContainerdVersion string   `json:"containerdVersion"`
	KubernetesVersion string   `json:"kubernetesVersion"`
	BuildRoot         string   `json:"buildRoot"`
	UserSource        string   `json:"userSource,omitempty"`
	RootFS            string   `json:"rootfs"`
	Dir               string   `json:"dir"`
}

func describe(n *testbed.Node) description {
	return description{
		Name: n.Name(), Address: n.IP(), SSHAddress: n.SSHAddr(), User: n.User(),
		MinikubeHome: n.MinikubeHome(), KeyFile: n.KeyFile(), KnownHostsFile: n.KnownHostsFile(),
		SSHCommand: n.SSHCommand(), Owner: n.Owner(), Containerd: n.Containerd(),
		ContainerdVersion: parts.ContainerdVersion, KubernetesVersion: parts.KubernetesVersion,
		BuildRoot: n.BuildRoot(n.Containerd()), RootFS: n.RootFS(), Dir: n.Dir(),
	}
}

func (d description) write(w io.Writer) error {
	lines := []string{
		"node:        " + d.Name + " at " + d.Address,
		"containerd:  " + d.ContainerdVersion + ", flavour " + d.Containerd,
		"built in:    " + d.BuildRoot,
	}
	if d.UserSource != "" {
		lines = append(lines, "your source: "+d.UserSource)
	}
	lines = append(lines,
		"root:        "+d.RootFS,
		"ssh:         "+strings.Join(d.SSHCommand, " "),
		"environment: MINIKUBE_HOME="+d.MinikubeHome,
	)
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}
