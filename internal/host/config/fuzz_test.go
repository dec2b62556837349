package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// FuzzParse parses arbitrary workspace files: none may cause a panic, or set a key
// that needs trust.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"target: kubelet\nmap:\n  - a=/b\n", "map: {.: /b}\n", "node: ssh:x\n", "a: &a [*a]\n", "? |\n  x\n: y\n",
		"{target: x, target: y}", "--- !!map {}\n", "%YAML 1.1\n---\n", "target: \"\\x1b[0m\"\n", strings.Repeat("[", 200), strings.Repeat("- ", 200),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		values, err := parse("dapbridge.yaml", InWorkspace, text)
		if err != nil {
			if diag.CodeOf(err) != diag.ConfigInvalid {
				t.Errorf("%v is %s", err, diag.CodeOf(err))
			}
			return
		}
		w := Workspace{values: values}
		if w.checkForbidden("") != nil || len(w.NeedTrust()) > 0 {
			return
		}
		values, err = normalize(values, "/workspace", "/home/me")
		if err != nil {
			return
		}
		for _, v := range values {
			if v.Key.Workspace != Free || v.Origin.Line < 1 {
				t.Errorf("%s is set in line %d", v.Key.Name, v.Origin.Line)
			}
			for _, rule := range v.Text {
				if v.Key.Name == "map" && !filepath.IsAbs(rule) {
					t.Errorf("map %q is relative", rule)
				}
			}
		}
	})
}
