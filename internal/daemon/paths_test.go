package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/agent"
	"github.com/dapbridge/dapbridge/internal/target"
	"github.com/dapbridge/dapbridge/pathmap"
)

// TestPaths maps by what the binary says and the workspace holds, by the user's
// rules alone when there are any, and not at all for another module.
func TestPaths(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("module example.com/d\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(root, "cmd", "d")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	d := agent.Target{Build: target.Build{ModulePath: "example.com/d", MainPackage: "example.com/d/cmd/d", MainFile: "/build/d/cmd/d/main.go"}}
	for name, tt := range map[string]struct {
		config Config
		module string
		want   string // of root's main.go; "" if there is no map
	}{
		"inferred":       {Config{Root: root}, "example.com/d", "/build/d/main.go"},
		"from below":     {Config{Root: below}, "example.com/d", "/build/d/main.go"},
		"another module": {Config{Root: root}, "example.com/e", ""},
		"no module":      {Config{Root: filepath.Dir(root)}, "example.com/d", ""},
		"by hand":        {Config{Root: root, Maps: []pathmap.Rule{{Host: root, Node: "/by/hand"}}}, "example.com/d", "/by/hand/main.go"},
	} {
		t.Run(name, func(t *testing.T) {
			d.Build.ModulePath = tt.module
			m, err := tt.config.paths(d)
			got, ok := m.ToNode(filepath.Join(root, "main.go"))
			if ok != (tt.want != "") || ok && got != tt.want || (err == nil) != ok {
				t.Errorf("main.go is %q (%v), want %q; %v", got, ok, tt.want, err)
			}
		})
	}
}
