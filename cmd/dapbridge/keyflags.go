package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/host/config"
)

// These define the flag of the configuration's key called name, with its value
// in p. A command that has any must be made by [configured], which fills them.

func textFlag(cmd *cobra.Command, env environment, p *string, name string) {
	k := key(name)
	cmd.Flags().StringVarP(p, k.Name, k.Short, k.Default, k.Help)
	finish(cmd, env, k)
}

func switchFlag(cmd *cobra.Command, env environment, p *bool, name string) {
	k := key(name)
	cmd.Flags().BoolVarP(p, k.Name, k.Short, k.Default == "true", k.Help)
	finish(cmd, env, k)
}

func durationFlag(cmd *cobra.Command, env environment, p *time.Duration, name string) {
	k := key(name)
	d, err := time.ParseDuration(k.Default)
	if err != nil {
		panic(err) // the table is wrong
	}
	cmd.Flags().DurationVarP(p, k.Name, k.Short, d, k.Help)
	finish(cmd, env, k)
}

func listFlag(cmd *cobra.Command, env environment, p *[]string, name string) {
	k := key(name)
	cmd.Flags().StringArrayVarP(p, k.Name, k.Short, nil, k.Help)
	finish(cmd, env, k)
}

// key returns the key called name, which the caller spells out.
func key(name string) config.Key {
	k, ok := config.Find(name)
	if !ok {
		panic("no key is called " + name)
	}
	return k
}

// finish says how the flag's value is completed.
func finish(cmd *cobra.Command, env environment, k config.Key) {
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
