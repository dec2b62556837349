package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/config"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// project is a home directory, and a workspace as the current directory.
type project struct {
	t         *testing.T
	home      string
	user      string // the user's own file
	workspace string // the directory
	trust     config.Trust
	env       map[string]string
	flags     map[string][]string
}

func newProject(t *testing.T) *project {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &project{
		t: t, home: filepath.Join(dir, "home"), workspace: filepath.Join(dir, "src"),
		env: map[string]string{}, flags: map[string][]string{},
	}
	p.user = filepath.Join(p.home, ".config", "dapbridge", "config.yaml")
	p.trust = config.Trust{File: filepath.Join(p.home, ".local", "state", "dapbridge", "trusted")}
	p.write(filepath.Join(p.workspace, "go.mod"), "module m\n")
	return p
}

func (p *project) write(path, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) file() string { return filepath.Join(p.workspace, config.WorkspaceName) }

func (p *project) load() (*config.Settings, error) {
	return config.Load(config.Sources{
		Flags: p.flags, Getenv: func(name string) string { return p.env[name] },
		Dir: p.workspace, Home: p.home, UserFile: p.user, TrustFile: p.trust.File,
	})
}

func (p *project) mustLoad() *config.Settings {
	p.t.Helper()
	s, err := p.load()
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// wantRefusal checks that loading fails with the code, and with a message and hint
// that contain all parts.
func (p *project) wantRefusal(code diag.Code, parts ...string) {
	p.t.Helper()
	_, err := p.load()
	wantError(p.t, err, code, parts...)
}

func wantError(t *testing.T, err error, code diag.Code, parts ...string) {
	t.Helper()
	var e *diag.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	for _, part := range parts {
		if text := e.Summary + "\n" + e.Hint; !strings.Contains(text, part) {
			t.Errorf("%q does not contain %q", text, part)
		}
	}
}

func (p *project) trustFile(path string) {
	p.t.Helper()
	w, err := config.ReadWorkspace(path)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.trust.Add(w); err != nil {
		p.t.Fatal(err)
	}
}

// wantValue checks a key's value, and where it is set.
func wantValue(t *testing.T, s *config.Settings, key, want, from string) {
	t.Helper()
	got := s.Get(key)
	if got.String() != want {
		t.Errorf("%s is %q, want %q", key, got, want)
	}
	if got.From() != from {
		t.Errorf("%s is from %s, want %s", key, got.From(), from)
	}
}

// samples returns two values for the key, as given to a flag.
func samples(k config.Key) [2]string {
	switch k.Kind {
	case config.Choice:
		return [2]string{k.Choices[0], k.Choices[1]}
	case config.Switch:
		return [2]string{"true", "false"}
	case config.Duration:
		return [2]string{"90s", "2m"}
	case config.Address:
		return [2]string{"127.0.0.1:1", "127.0.0.1:2"}
	case config.Maps:
		return [2]string{"/h1=/n1", "/h2=/n2"}
	case config.Path:
		return [2]string{"/p1", "/p2"}
	}
	return [2]string{"one", "two"}
}

func yamlOf(k config.Key, value string) string {
	if k.List() {
		return fmt.Sprintf("%s: [%s]\n", k.Name, value)
	}
	return fmt.Sprintf("%s: %s\n", k.Name, value)
}

// TestPrecedence sets each key in each pair of layers and checks which one wins.
func TestPrecedence(t *testing.T) {
	// By precedence, the highest first.
	layers := []struct {
		name string
		set  func(p *project, k config.Key, value string)
		from func(p *project, k config.Key) string
	}{
		{"flag", func(p *project, k config.Key, v string) { p.flags[k.Name] = []string{v} },
			func(_ *project, k config.Key) string { return "--" + k.Name }},
		{"environment", func(p *project, k config.Key, v string) { p.env[k.Variable()] = v },
			func(_ *project, k config.Key) string { return k.Variable() }},
		{"workspace", func(p *project, k config.Key, v string) {
			p.write(p.file(), yamlOf(k, v))
			if k.Workspace == config.AfterTrust {
				p.trustFile(p.file())
			}
		}, func(p *project, _ config.Key) string { return p.file() + ":1" }},
		{"user", func(p *project, k config.Key, v string) { p.write(p.user, "# mine\n"+yamlOf(k, v)) },
			func(p *project, _ config.Key) string { return p.user + ":2" }},
	}
	for _, k := range config.Keys() {
		for i, high := range layers {
			if high.name == "workspace" && k.Workspace == config.Never || high.name == "flag" && k.NoFlag {
				continue
			}
			for _, low := range layers[i+1:] {
				if low.name == "workspace" && k.Workspace == config.Never {
					continue
				}
				t.Run(k.Name+"/"+high.name+" over "+low.name, func(t *testing.T) {
					p := newProject(t)
					two := samples(k)
					low.set(p, k, two[0])
					wantValue(t, p.mustLoad(), k.Name, two[0], low.from(p, k))
					high.set(p, k, two[1])
					wantValue(t, p.mustLoad(), k.Name, two[1], high.from(p, k))
				})
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	p := newProject(t)
	s := p.mustLoad()
	if s.Workspace != "" || s.Trusted {
		t.Errorf("got the workspace %q, trusted %v", s.Workspace, s.Trusted)
	}
	if got, want := len(s.All()), len(config.Keys()); got != want {
		t.Errorf("got %d values, want %d", got, want)
	}
	for _, v := range s.All() {
		want := v.Key.Default
		if v.Key.Name == "root" {
			want = p.workspace
		}
		wantValue(t, s, v.Key.Name, want, "default")
	}
}

// TestPaths checks that a path is relative to the file that it is written in.
func TestPaths(t *testing.T) {
	p := newProject(t)
	p.write(p.user, "root: src\nidentity: ~/.ssh/key\nagent: /a\nlisten: unix:sock\nmap:\n  - ~/a=/n/a\n  - b=/n/b\n")
	s := p.mustLoad()
	dir := filepath.Dir(p.user)
	for key, want := range map[string]string{
		"root":     filepath.Join(dir, "src"),
		"identity": filepath.Join(p.home, ".ssh", "key"),
		"agent":    "/a",
		"listen":   "unix:" + filepath.Join(dir, "sock"),
		"map":      filepath.Join(p.home, "a") + "=/n/a," + filepath.Join(dir, "b") + "=/n/b",
	} {
		if got := s.Get(key).String(); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	p.env["DAPBRIDGE_ROOT"] = "sub"
	p.env["DAPBRIDGE_MAP"] = "x=/n/x,~/y=/n/y"
	p.flags["identity"] = []string{""} // from a script whose variable is empty
	s = p.mustLoad()
	if got := s.Get("root").String(); got != filepath.Join(p.workspace, "sub") {
		t.Errorf("root: %s", got)
	}
	if got, want := s.Get("map").Text, []string{filepath.Join(p.workspace, "x") + "=/n/x", filepath.Join(p.home, "y") + "=/n/y"}; !slices.Equal(got, want) {
		t.Errorf("map: %q", got)
	}
	wantValue(t, s, "identity", "", "--identity")
	// A mapping is a list of its entries.
	p = newProject(t)
	p.write(p.file(), "map:\n  .: /build\n  /abs: /other\n")
	if got, want := p.mustLoad().Get("map").Text, []string{p.workspace + "=/build", "/abs=/other"}; !slices.Equal(got, want) {
		t.Errorf("map: %q, want %q", got, want)
	}
}

func TestInvalidFlagsAndVariables(t *testing.T) {
	for _, tt := range []struct {
		env, flag, value string
		says             string
	}{
		{flag: "lease", value: "1ms", says: "--lease 1ms: must be at least 1s"},
		{flag: "linger", value: "-1s", says: "--linger -1s: must be at least 0s"},
		{flag: "log-level", value: "loud", says: "--log-level loud: choose debug, info, warn or error"},
		{flag: "map", value: "nonsense", says: "--map nonsense"},
		{env: "DAPBRIDGE_LEASE", value: "30", says: "DAPBRIDGE_LEASE=30: write a number with a unit"},
		{env: "DAPBRIDGE_TAKEOVER", value: "maybe", says: "DAPBRIDGE_TAKEOVER=maybe: write true or false"},
		{env: "DAPBRIDGE_LOCAL_NODES", value: "a,*", says: "write only a host name or address"},
	} {
		p := newProject(t)
		if tt.env != "" {
			p.env[tt.env] = tt.value
		} else {
			p.flags[tt.flag] = []string{tt.value}
		}
		p.wantRefusal(diag.Usage, tt.says)
	}
}

// TestUserFile checks which files are accepted as the user's own.
func TestUserFile(t *testing.T) {
	p := newProject(t)
	if err := os.MkdirAll(p.user, 0o700); err != nil {
		t.Fatal(err)
	}
	p.wantRefusal(diag.ConfigInvalid, p.user, "not a regular file")

	p = newProject(t) // many users have a link to a file in a repository of dotfiles
	real := filepath.Join(p.home, "dotfiles", "config.yaml")
	p.write(real, "target: kubelet\n")
	if err := os.MkdirAll(filepath.Dir(p.user), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, p.user); err != nil {
		testenv.Skipf(t, "symbolic links are not supported: %v", err)
	}
	wantValue(t, p.mustLoad(), "target", "kubelet", p.user+":1")
}
