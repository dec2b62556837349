package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/logs"
)

// invoke runs one command line for a user without minikube and configuration.
func invoke(t *testing.T, args ...string) (status int, out, err string) {
	t.Helper()
	return invokeAt(t, t.TempDir(), args...)
}

// stream is an output that a command's log and progress may write to concurrently.
type stream struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// invokeAt runs one command line for the user with the given home directory.
func invokeAt(t *testing.T, home string, args ...string) (status int, out, err string) {
	t.Helper()
	t.Setenv("HOME", home)
	for _, name := range []string{"MINIKUBE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"} {
		t.Setenv(name, "")
	}
	var o, e stream
	status = run(t.Context(), environment{args: args, getenv: os.Getenv, in: os.Stdin, out: &o, err: &e})
	return status, o.String(), e.String()
}

// TestMistakes checks that an invalid command line leads to the documented exit status,
// an error and a hint, before anything is contacted.
func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		args   string
		status int
		says   string
	}{
		{"serve --nonsense", 2, "unknown flag: --nonsense"},
		{"serve containerd", 2, "takes no argument"},
		{"restore --replaced maybe", 2, "choose keep or undo"},
		{"serve -o yaml --node ssh://root@127.0.0.1:1", 2, "choose text or json"},
		{"serve --lease 1ms --node ssh://root@127.0.0.1:1", 2, "--lease 1ms: must be at least 1s"},
		{"serve --stdio --listen 127.0.0.1:1 --node ssh://root@127.0.0.1:1", 2, "--stdio serves only the IDE"},
		{"serve --map nonsense --node ssh://root@127.0.0.1:1", 2, "--map nonsense"},
		{"serve --log-level loud", 2, "choose debug, info, warn or error"},
		{"serve --node gopher://x", 2, "gopher"},
		{"serve --node minikube:nowhere", 3, "nowhere"},
		{"serve --node ssh://root@198.51.100.7", 3, "198.51.100.7"}, // not local
		{"ps", 3, "minikube"},
		{"logs --since yesterday", 2, "--since yesterday is neither"},
		{"logs --since 1ms", 2, "--since 1ms is neither"},
		{"logs containerd", 2, "takes no argument"},
		{"deploy a b", 2, "takes one directory"},
		{"deploy --ready 1ms --node ssh://root@127.0.0.1:1", 2, "ready"},
		{"deploy -o yaml --node ssh://root@127.0.0.1:1", 2, "choose text or json"},
		{"restore --node minikube:nowhere", 3, "nowhere"},
		{"restore containerd", 2, "takes no argument"},
		{"paths a b", 2, "takes one file"},
		{"paths --exe /nonexistent/containerd", 2, "--exe: stat /nonexistent/containerd"},
		{"paths --exe / --log-level warn", 4, "not a regular file"},
		{"paths --map nonsense --node ssh://root@127.0.0.1:1", 2, "--map nonsense"},
		{"source a b", 2, "takes one directory"},
		{"source -o yaml --node ssh://root@127.0.0.1:1", 2, "choose text or json"},
		{"source --node minikube:nowhere", 3, "nowhere"},
		{"init emacs", 2, "unknown IDE"},
		{"init vscode --listen unix:/x", 2, "not HOST:PORT"},
		{"frobnicate", 2, "unknown command"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			status, out, err := invoke(t, strings.Fields(tt.args)...)
			outcome{tt.status, tt.says}.check(t, status, err)
			if !strings.HasPrefix(err, "error: ") || !strings.Contains(err, "\nhint: ") {
				t.Errorf("the output is not an error with a hint: %s%s", out, err)
			}
		})
	}
}

func TestSince(t *testing.T) {
	for text, want := range map[string]logs.Journal{
		"":                     {},
		"90m":                  {Ago: 90 * time.Minute},
		"2026-11-28T09:30:00Z": {Since: time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)},
		"2026-11-28 09:30:00":  {Since: time.Date(2026, 11, 28, 9, 30, 0, 0, time.Local)},
		"2026-11-28":           {Since: time.Date(2026, 11, 28, 0, 0, 0, 0, time.Local)},
	} {
		var got logs.Journal
		if err := parseSince(text, &got); err != nil {
			t.Errorf("--since %q: %v", text, err)
		}
		if !got.Since.Equal(want.Since) || got.Ago != want.Ago {
			t.Errorf("--since %q is %+v, want %+v", text, got, want)
		}
	}
}

func TestInitGoLand(t *testing.T) {
	dir := t.TempDir()
	for i, want := range []string{"wrote", "is up to date"} {
		status, out, err := invoke(t, "init", "goland", "--root", dir, "--listen", "127.0.0.1:4000")
		t.Logf("run %d: %s", i+1, err)
		outcome{0, want}.check(t, status, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, ".run", "dapbridge.run.xml"))
	if err != nil || !strings.Contains(string(data), `host="127.0.0.1" port="4000"`) {
		t.Errorf("wrote %s, %v", data, err)
	}
}

func TestInitVSCode(t *testing.T) {
	dir := t.TempDir()
	for i, want := range []string{"wrote", "is up to date"} {
		status, out, err := invoke(t, "init", "vscode", "--root", dir, "--listen", "127.0.0.1:4000")
		t.Logf("run %d: %s", i+1, err)
		outcome{0, want}.check(t, status, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, ".vscode", "launch.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Configurations []map[string]any `json:"configurations"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	got := file.Configurations[0]
	if got["port"] != 4000.0 || got["mode"] != "remote" || got["debugAdapter"] != "dlv-dap" {
		t.Errorf("wrote %v", got)
	}
}

func TestVersion(t *testing.T) {
	_, text, _ := invoke(t, "version")
	_, out, _ := invoke(t, "version", "-o", "json")
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil || !strings.Contains(text, "Delve") || v["protocol"] != 1.0 {
		t.Errorf("%s%s%v", text, out, err)
	}
}
