package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// normalize returns one value of the key in its canonical form, or an error that says
// what is wrong with it. Relative paths are relative to dir.
func (k Key) normalize(text, dir, home string) (string, error) {
	switch k.Kind {
	case Choice:
		if !slices.Contains(k.Choices, text) {
			return "", fmt.Errorf("choose %s or %s", strings.Join(k.Choices[:len(k.Choices)-1], ", "), k.Choices[len(k.Choices)-1])
		}
	case Switch:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return "", errors.New("write true or false")
		}
		return strconv.FormatBool(on), nil
	case Duration:
		return text, k.checkDuration(text)
	case Path:
		if text == "" { // from a script whose variable is empty
			text = k.Default
		}
		return resolvePath(text, dir, home)
	case Address:
		if path, ok := strings.CutPrefix(text, "unix:"); ok && path != "" {
			path, err := resolvePath(path, dir, home)
			return "unix:" + path, err
		}
	case Maps:
		return normalizeMap(text, dir, home)
	case Hosts:
		return text, checkHost(text)
	}
	return text, nil
}

func (k Key) checkDuration(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("write a number with a unit, such as 30s or 5m")
	}
	if d < k.Least {
		return fmt.Errorf("must be at least %s", k.Least)
	}
	return nil
}

// resolvePath returns an absolute path; ~/ stands for the home directory.
func resolvePath(path, dir, home string) (string, error) {
	rest, inHome := strings.CutPrefix(path, "~/")
	switch {
	case path == "" || filepath.IsAbs(path):
		return path, nil
	case inHome || path == "~":
		if home == "" {
			return "", errors.New("there is no home directory: write the full path")
		}
		return filepath.Join(home, strings.TrimPrefix(rest, "~")), nil
	}
	return filepath.Join(dir, path), nil
}

// normalizeMap resolves the HOST of HOST=NODE.
func normalizeMap(text, dir, home string) (string, error) {
	if host, node, ok := strings.Cut(text, "="); ok && host != "" && !filepath.IsAbs(host) {
		host, err := resolvePath(host, dir, home)
		if err != nil {
			return "", err
		}
		text = host + "=" + node
	}
	_, err := pathmap.ParseRule(text)
	return text, err
}

// checkHost accepts a host name or address as in --node, without a user or port, since
// neither makes it a different machine.
func checkHost(text string) error {
	if _, err := netip.ParseAddr(text); err == nil {
		return nil
	}
	if text == "" || strings.ContainsAny(text, "@:/*?[] \t") {
		return errors.New("write only a host name or address")
	}
	return nil
}
