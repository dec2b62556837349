package main

import (
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/host/node"
)

// completeNode offers the nodes known on this machine, and the forms of others.
func (env environment) completeNode(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	home, _ := os.UserHomeDir() // without it there are no profiles
	var all []cobra.Completion
	for _, c := range node.ListChoices(node.Options{MinikubeHome: env.getenv("MINIKUBE_HOME"), Home: home, GOOS: runtime.GOOS}) {
		all = append(all, cobra.CompletionWithDesc(c.Spec, c.What))
	}
	all = append(all, cobra.CompletionWithDesc("ssh:", "a host in ssh's configuration"), cobra.CompletionWithDesc("ssh://", "[USER@]HOST[:PORT]"))
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveKeepOrder
}

// completeTarget offers the usual targets on Kubernetes nodes, without asking the node
// which of them it runs.
func completeTarget(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{
		cobra.CompletionWithDesc("containerd", "the container runtime"),
		cobra.CompletionWithDesc("kubelet", "Kubernetes' node agent"),
		cobra.CompletionWithDesc("crio", "the container runtime CRI-O"),
		cobra.CompletionWithDesc("dockerd", "Docker's daemon"),
	}, cobra.ShellCompDirectiveNoFileComp
}
