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

// Env is a part of what go env says; the fields are named as there.
type Env struct {
	GOROOT, GOVERSION, GOHOSTOS, GOHOSTARCH string
	GOMODCACHE, GOWORK                      string
	GOFLAGS                                 string
	GOPROXY, GONOPROXY                      string
	GOSUMDB, GONOSUMDB                      string
}

// readEnv runs go env in dir, with the Go that is installed: a workspace can ask
// for another one, which would be downloaded and run.
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

// said adds what a command wrote as it failed.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

// Platform is the host's, as toolchain modules are named for it.
func (e Env) Platform() string { return e.GOHOSTOS + "-" + e.GOHOSTARCH }
