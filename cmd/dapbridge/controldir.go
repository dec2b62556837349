package main

import (
	"os"
	"path/filepath"
	"runtime"
)

// controlDirs are where sockets of this user's daemons may be, by which their
// commands talk to them; a new one belongs into the first. A directory that is not
// this user's alone is none of them. There is none on Windows, where the user at the
// other end of a socket is not known.
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
	if privateDir(state) == nil {
		dirs = append(dirs, filepath.Join(state, "run"))
	}
	var safe []string
	for _, dir := range dirs {
		if privateDir(dir) != nil {
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			safe = append(safe, dir)
		}
	}
	return safe, nil
}

// controlDir is where a new daemon's socket belongs, "" if there is no such place.
func (env environment) controlDir() (string, error) {
	dirs, err := env.controlDirs()
	if err != nil || len(dirs) == 0 {
		return "", err
	}
	return dirs[0], nil
}
