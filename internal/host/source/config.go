// Package source finds the target's source on the host. It infers the path map from the
// executable, the workspace and the host's Go environment, explains it to the user,
// fetches modules that the host lacks, and reads files for the bridge.
package source

import (
	"log/slog"

	"github.com/dapbridge/dapbridge/pathmap"
)

// Config says where the host's source is.
type Config struct {
	Root     string         // where the target's source is on the host
	Rules    []pathmap.Rule // the user's own, which take precedence over inferred ones
	CacheDir string         // private to the user, for copies of the node's files that clients open; "" for none
	Log      *slog.Logger
}
