package config_test

import (
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// TestInvalid checks the errors for invalid files, each with its line.
func TestInvalid(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		says       []string
	}{
		{"unknown", "target: x\ntargt: y\n", []string{":2: unknown key \"targt\"", "did you mean target?"}},
		{"underscores", "allow_non_local: true\n", []string{":1:", "did you mean allow-non-local?"}},
		{"no similar key", "frobnicate-the-node: 1\n", []string{"unknown key", "the keys are: target, map, root"}},
		{"long", strings.Repeat("k", 500) + ": 1\n", []string{"kkk…"}},
		{"escapes", "\"\\e[31mred\": 1\n", []string{`unknown key "\x1b[31mred"`}},
		{"lines in a value", "lease: \"x\\nhint: y\\e[0m\"\n", []string{`:1: lease: x\nhint: y\x1b[0m: write`}},
		{"lines in a map", "map: [\"/a\\nhint: =\"]\n", []string{`/a\nhint: `}},
		{"twice", "target: a\n\ntarget: b\n", []string{":3: target is already set in line 1"}},
		{"no value", "target:\n", []string{":1: target has no value"}},
		{"empty", "target: ''\n", []string{"target has no value"}},
		{"number", "\ntarget: 12\n", []string{":2: target is a text, not 12", "in quotes"}},
		{"list for text", "target: [a]\n", []string{"target has a single value"}},
		{"text for list", "map: /a=/b\n", []string{"map is a list"}},
		{"mapping for hosts", "local-nodes: {a: b}\n", []string{"local-nodes is a list"}},
		{"list of lists", "map: [[a]]\n", []string{"map is a list of text"}},
		{"list of numbers", "local-nodes: [1]\n", []string{"not 1"}},
		{"quoted switch", "takeover: 'true'\n", []string{"takeover is a switch"}},
		{"old switch", "takeover: yes\n", []string{"write true or false"}},
		{"no unit", "lease: 30\n", []string{"lease: 30 has no unit: write 30s"}},
		{"not a duration", "lease: soon\n", []string{":1: lease: soon: write a number with a unit"}},
		{"short", "lease: 10ms\n", []string{"must be at least 1s"}},
		{"not a choice", "symbols: maybe\n", []string{"choose ask, auto, never or refuse"}},
		{"not a map", "map: [nonsense]\n", []string{"want HOST=NODE"}},
		{"mapped twice", "map:\n  /a: /b\n  /a: /c\n", []string{":3: /a is mapped twice"}},
		{"no mapping", "- target\n", []string{":1: expected lines of KEY: VALUE"}},
		{"only text", "target\n", []string{":1: expected lines of KEY: VALUE"}},
		{"two documents", "target: a\n---\ntarget: b\n", []string{"a second document"}},
		{"anchors", "target: &a x\nnode: *a\n", []string{":1: anchors and aliases"}},
		{"bomb", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nmap: *c\n", []string{"anchors and aliases"}},
		{"merge", "<<: {target: a}\n", []string{"unknown key"}},
		{"tags", "target: !!binary aGk=\n", []string{"target is a text"}},
		{"own tags", "target: !run x\n", []string{"target is a text"}},
		{"complex key", "? [target]\n: x\n", []string{"expected KEY: VALUE"}},
		{"not YAML", "target: x\n\ttarget: y\n", []string{":2: not YAML"}},
		{"binary", "\x00\x01\xff", []string{"not YAML"}},
		{"large", "#" + strings.Repeat(" ", 64<<10), []string{"larger than 65536 bytes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProject(t)
			p.write(p.user, tt.text)
			p.wantRefusal(diag.ConfigInvalid, append(tt.says, p.user)...)
		})
	}
	for name, text := range map[string]string{"empty": "", "comments": "# nothing\n", "null": "---\n", "empty mapping": "{}\n", "byte order mark": "\ufefftarget: containerd\n"} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.write(p.user, text)
			p.mustLoad()
		})
	}
}
