package gosource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"strings"
	"time"
)

// envTimeout bounds a run of go env.
const envTimeout = 10 * time.Second

// Env holds variables that go env prints; the fields have their names.
type Env struct {
	GOROOT, GOVERSION, GOHOSTOS, GOHOSTARCH string
	GOMODCACHE, GOWORK                      string
	GOFLAGS                                 string
	GOPROXY, GONOPROXY                      string
	GOSUMDB, GONOSUMDB                      string
}

// readEnv runs go env in dir, with the installed Go: a workspace can ask for
// another toolchain, which the go command would download and run.
func readEnv(ctx context.Context, dir string) (Env, error) {
	ctx, cancel := context.WithTimeout(ctx, envTimeout)
	defer cancel()
	args := []string{"env", "-json"}
	for f := range reflect.TypeFor[Env]().Fields() {
		args = append(args, f.Name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GOTOOLCHAIN=local")
	out, err := cmd.Output()
	if err != nil {
		return Env{}, fmt.Errorf("go env: %w", withStderr(err))
	}
	var e Env
	if err := json.Unmarshal(out, &e); err != nil {
		return Env{}, fmt.Errorf("go env: %w", err)
	}
	return e, nil
}

// withStderr adds to the error of a failed command what it wrote to stderr.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

// Platform returns the host's platform as the versions of toolchain modules name it.
func (e Env) Platform() string { return e.GOHOSTOS + "-" + e.GOHOSTARCH }
