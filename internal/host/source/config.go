// Package source finds the target's source on the host: it concludes the path map
// from what the executable, the workspace and the host's Go say, explains it to the
// user, fetches modules that the host lacks, and hands files to the bridge.
package source

import (
	"log/slog"

	"github.com/dapbridge/dapbridge/pathmap"
)

// Config says where the host's source is.
type Config struct {
	Root     string         // where the target's source is on the host
	Rules    []pathmap.Rule // the user's own, which win over those that are inferred
	CacheDir string         // this user's own, for files of the node that clients open; "" for none
	Log      *slog.Logger
}
