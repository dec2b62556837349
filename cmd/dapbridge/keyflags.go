package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/host/config"
)

// The following functions define the flag for the named key of the configuration, with
// its value in p. A command with such flags needs [withConfig], which sets them.

func textFlag(cmd *cobra.Command, env environment, p *string, name string) {
	k := mustFindKey(name)
	cmd.Flags().StringVarP(p, k.Name, k.Short, k.Default, k.Help)
	registerCompletion(cmd, env, k)
}

func switchFlag(cmd *cobra.Command, env environment, p *bool, name string) {
	k := mustFindKey(name)
	cmd.Flags().BoolVarP(p, k.Name, k.Short, k.Default == "true", k.Help)
	registerCompletion(cmd, env, k)
}

func durationFlag(cmd *cobra.Command, env environment, p *time.Duration, name string) {
	k := mustFindKey(name)
	d, err := time.ParseDuration(k.Default)
	if err != nil {
		panic(err) // a bug in the table of keys
	}
	cmd.Flags().DurationVarP(p, k.Name, k.Short, d, k.Help)
	registerCompletion(cmd, env, k)
}

func listFlag(cmd *cobra.Command, env environment, p *[]string, name string) {
	k := mustFindKey(name)
	cmd.Flags().StringArrayVarP(p, k.Name, k.Short, nil, k.Help)
	registerCompletion(cmd, env, k)
}

// mustFindKey returns the named key. A wrong name is a bug.
func mustFindKey(name string) config.Key {
	k, ok := config.Find(name)
	if !ok {
		panic("there is no key " + name)
	}
	return k
}

// registerCompletion registers the completion of the flag's value, and hides the flag if
// the key is marked NoFlag.
func registerCompletion(cmd *cobra.Command, env environment, k config.Key) {
	if k.NoFlag {
		cmd.Flags().MarkHidden(k.Name)
	}
	switch {
	case k.Name == "node":
		cmd.RegisterFlagCompletionFunc(k.Name, env.completeNode)
	case k.Name == "target":
		cmd.RegisterFlagCompletionFunc(k.Name, completeTarget)
	case k.Name == "root":
		cmd.MarkFlagDirname(k.Name)
	case k.Kind == config.Choice:
		cmd.RegisterFlagCompletionFunc(k.Name, cobra.FixedCompletions(k.Choices, cobra.ShellCompDirectiveNoFileComp))
	case k.Kind == config.Path:
		cmd.MarkFlagFilename(k.Name)
	}
}
