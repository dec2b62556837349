package supervisor

import (
	"runtime"

	"github.com/dapbridge/dapbridge/internal/api"
)

// newHello describes this process.
func newHello(version string) api.Hello {
	return api.Hello{Protocol: api.Protocol, Version: version, OS: runtime.GOOS, Arch: runtime.GOARCH}
}
