package config_test

import (
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/config"
)

// TestForbiddenKeys sets each key in a workspace's file.
func TestForbiddenKeys(t *testing.T) {
	for _, k := range config.Keys() {
		t.Run(k.Name, func(t *testing.T) {
			p := newProject(t)
			p.write(p.file(), "# innocent\n"+yamlOf(k, samples(k)[1]))
			where := p.file() + ":2: "
			switch k.Workspace {
			case config.Free:
				if got := p.mustLoad().Get(k.Name); got.String() != samples(k)[1] {
					t.Errorf("got %q", got)
				}
				return
			case config.Never:
				p.wantRefusal(diag.ConfigUntrusted, where, "cannot set "+k.Name, k.Risk, "--"+k.Name, p.user)
				w, err := config.ReadWorkspace(p.file())
				if err != nil {
					t.Fatal(err)
				}
				wantError(t, p.trust.Add(w), diag.ConfigUntrusted, where)
				return
			}
			p.wantRefusal(diag.ConfigUntrusted, where, k.Name+" "+k.Risk, "dapbridge trust", p.user)
			// A value that wins over the file's does not make the file acceptable.
			p.env[k.Variable()] = samples(k)[0]
			p.wantRefusal(diag.ConfigUntrusted, where)
		})
	}
}

// TestEveryRiskIsNamed makes sure that no new key is Free by oversight.
func TestEveryRiskIsNamed(t *testing.T) {
	for _, k := range config.Keys() {
		free := k.Name == "target" || k.Name == "map"
		if isFree := k.Workspace == config.Free; isFree != free {
			t.Errorf("%s is free: %v, want %v", k.Name, isFree, free)
		}
		if hasRisk := k.Risk != ""; hasRisk == free {
			t.Errorf("%s has the risk %q", k.Name, k.Risk)
		}
		if k.Help == "" {
			t.Errorf("%s has no help", k.Name)
		}
	}
}

func TestFindWorkspace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		root  string
		want  string
	}{
		{"in the root", []string{"a/dapbridge.yaml"}, "a", "a/dapbridge.yaml"},
		{"not above a directory without module", []string{"dapbridge.yaml"}, "a/b", ""},
		{"up to the module", []string{"dapbridge.yaml", "a/go.mod", "a/dapbridge.yaml"}, "a/b/c", "a/dapbridge.yaml"},
		{"not above the module", []string{"dapbridge.yaml", "a/go.mod"}, "a/b", ""},
		{"up to the workspace of modules", []string{"dapbridge.yaml", "go.work"}, "a/b", "dapbridge.yaml"},
		{"through a nested module to the repository", []string{"a/.git/HEAD", "a/dapbridge.yaml", "a/api/go.mod"}, "a/api/v1", "a/dapbridge.yaml"},
		{"a worktree", []string{"a/.git", "a/dapbridge.yaml", "dapbridge.yaml"}, "a/b", "a/dapbridge.yaml"},
		{"not above the repository", []string{"dapbridge.yaml", "go.mod", "a/.git/HEAD"}, "a/b", ""},
		{"the nearest", []string{"a/.git", "a/dapbridge.yaml", "a/b/dapbridge.yaml"}, "a/b/c", "a/b/dapbridge.yaml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProject(t)
			for _, f := range tt.files {
				p.write(filepath.Join(p.home, f), "")
			}
			want := tt.want
			if want != "" {
				want = filepath.Join(p.home, want)
			}
			if got := config.FindWorkspace(filepath.Join(p.home, tt.root)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestRootFindsTheWorkspace checks that the file is searched for in root, wherever
// root is set.
func TestRootFindsTheWorkspace(t *testing.T) {
	for name, set := range map[string]func(p *project, other string){
		"user": func(p *project, _ string) { p.write(p.user, "root: ~/other\n") },
		"env":  func(p *project, other string) { p.env["DAPBRIDGE_ROOT"] = other },
		"flag": func(p *project, other string) { p.flags["root"] = []string{other} },
	} {
		p := newProject(t)
		other := filepath.Join(p.home, "other")
		p.write(filepath.Join(other, config.WorkspaceName), "target: kubelet\n")
		p.write(p.file(), "target: here\n")
		set(p, other)
		t.Run(name, func(t *testing.T) {
			s := p.mustLoad()
			path := filepath.Join(other, config.WorkspaceName)
			wantWorkspace(t, s, path, false)
			wantValue(t, s, "target", "kubelet", path+":1")
		})
	}
}
