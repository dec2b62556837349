package recipe

import (
	"os"
	"strings"
	"testing"
)

func TestPresets(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(doc), "\r\n", "\n") // a checkout on Windows
	if table := PresetTable(); !strings.Contains(text, table) {
		t.Errorf("docs/deploy.md does not have this table:\n%s", table)
	}
	for program, want := range map[string]string{"kubelet": "kubelet, tested with 1.37.2; ", "crio": "crio, untested; "} {
		if p := PresetOf(program); p == nil || !strings.Contains(p.String(), want) {
			t.Errorf("the preset of %s is %v, want %q", program, p, want)
		}
	}
	if p := PresetOf("mine"); p != nil {
		t.Errorf("an unknown program has the preset %v", p)
	}
}
