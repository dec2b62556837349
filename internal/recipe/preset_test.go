package recipe

import (
	"os"
	"strings"
	"testing"
)

func TestPresets(t *testing.T) {
	doc, err := os.ReadFile("../../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(doc), "\r\n", "\n") // a checkout on Windows
	if table := PresetTable(); !strings.Contains(text, table) {
		t.Errorf("docs/deploy.md does not have this table:\n%s", table)
	}
	if p := PresetOf("kubelet"); p == nil || !strings.Contains(p.String(), "kubelet, tested with 1.37.2; ") {
		t.Errorf("kubelet's: %v", p)
	}
	if p := PresetOf("crio"); p == nil || !strings.Contains(p.String(), "crio, untested; ") {
		t.Errorf("crio's: %v", p)
	}
	if p := PresetOf("mine"); p != nil {
		t.Errorf("one of no known program: %v", p)
	}
}
