package main

import (
	"os"
	"path/filepath"
	"runtime"
)

// controlDirs returns the directories that may contain the control sockets of this
// user's daemons; a new socket belongs in the first. It leaves out directories that
// others have access to. There is none on Windows, where the user at the other end of a
// socket cannot be determined.
func (env environment) controlDirs() ([]string, error) {
	if runtime.GOOS == "windows" {
		return nil, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	var dirs []string
	if runtimeDir := env.getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtimeDir) { // XDG Base Directory Specification
		dirs = append(dirs, filepath.Join(runtimeDir, "dapbridge"))
	}
	state := stateDir(env, home)
	if makePrivateDir(state) == nil {
		dirs = append(dirs, filepath.Join(state, "run"))
	}
	var safe []string
	for _, dir := range dirs {
		if makePrivateDir(dir) != nil {
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			safe = append(safe, dir)
		}
	}
	return safe, nil
}

// controlDir returns the directory for a new daemon's socket, "" if there is none.
func (env environment) controlDir() (string, error) {
	dirs, err := env.controlDirs()
	if err != nil || len(dirs) == 0 {
		return "", err
	}
	return dirs[0], nil
}
