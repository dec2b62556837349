//go:build !linux

package main

import "github.com/spf13/cobra"

// newAgent returns nil: the agent runs on Linux only.
func newAgent(environment) *cobra.Command { return nil }
