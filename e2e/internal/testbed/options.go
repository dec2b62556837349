//go:build linux

package testbed

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

const (
	// DefaultName is the name of a node and of its minikube profile.
	DefaultName = "minikube"
	// DefaultState is the default directory of nodes. It is not below /run, since
	// their root file systems are overlays, which not every kernel supports on a
	// tmpfs.
	DefaultState = "/var/lib/dapbridge-testnode"
	// CacheVariable is the environment variable that overrides the cache directory.
	CacheVariable = "DAPBRIDGE_TESTNODE_CACHE"
)

// The flavours of containerd: see [parts.Make] and the others.
const (
	Make       = parts.Make
	Static     = parts.Static
	Trimpath   = parts.Trimpath
	Stripped   = parts.Stripped
	Clang      = parts.Clang
	Trimmed    = parts.Trimmed
	V1Make     = parts.V1Make
	V1Trimpath = parts.V1Trimpath
)

// KubernetesVersion is the version of the kubelet.
const KubernetesVersion = parts.KubernetesVersion

// Options describes the node to bring up. The zero value is a node named minikube with
// the Make flavour of containerd, owned by root.
type Options struct {
	Name       string    // a lower-case host name, default DefaultName
	Containerd string    // a flavour, default Make
	Owner      int       // uid of the user who can reach the node
	Cache      string    // default: $DAPBRIDGE_TESTNODE_CACHE or in the user's cache directory
	State      string    // default DefaultState
	Log        io.Writer // receives lines of progress as long as the Node is used; nil discards them
	NoKubelet  bool      // omits the kubelet; criload then makes the pods

	// SystemCallFilter is the value of systemd-nspawn's --system-call-filter, which
	// extends its default filter; "" disables filtering, as in a privileged container.
	SystemCallFilter string
}

// isValidName reports whether a name is valid as a host name, a path element, a network
// namespace and a cgroup.
func isValidName(name string) bool {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`).MatchString(name)
}

// withDefaults returns the options with defaults filled in, and validates them.
func (o Options) withDefaults() (Options, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if !isValidName(o.Name) {
		return o, fmt.Errorf("node name %q: want at most 32 of a-z, 0-9 and inner dashes", o.Name)
	}
	if o.Containerd == "" {
		o.Containerd = Make
	}
	if !slices.Contains(parts.Flavours(), o.Containerd) {
		return o, fmt.Errorf("containerd flavour %q: want one of %q", o.Containerd, parts.Flavours())
	}
	if o.Owner < 0 {
		return o, fmt.Errorf("owner %d: want a uid", o.Owner)
	}
	if o.State == "" {
		o.State = DefaultState
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	o.Log = &syncWriter{w: o.Log}
	if o.Cache == "" {
		o.Cache = os.Getenv(CacheVariable)
	}
	if o.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("no cache directory, set %s: %w", CacheVariable, err)
		}
		o.Cache = filepath.Join(dir, "dapbridge-testnode")
	}
	var err error
	if o.State, err = filepath.Abs(o.State); err != nil {
		return o, err
	}
	o.Cache, err = filepath.Abs(o.Cache)
	return o, err
}

// syncWriter serialises writes, since several parts are built at once and each reports
// its progress.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// errNotRoot is returned to users other than root.
var errNotRoot = errors.New("a test node needs root: it makes namespaces, mounts and cgroups")
