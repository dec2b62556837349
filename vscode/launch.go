// Package vscode writes the attach configuration with which VS Code starts a session
// into .vscode/launch.json.
package vscode

import (
	"bytes"
	"errors"

	"github.com/tailscale/hujson"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// maxLaunchSize bounds the text, in bytes, since hujson recurses and the file may come
// from an untrusted repository.
const maxLaunchSize = 1 << 18

// Launch is one attach configuration of the Go extension.
type Launch struct {
	Name string // as the IDE shows it, "dapbridge: containerd"; it identifies the configuration
	Host string // where dapbridge listens
	Port int
}

// Configure merges l into the text of a launch.json, which may be empty. In a
// configuration of the same name it changes only the keys that make it reach dapbridge
// (mode, debugAdapter, host, port); if there is none, it appends one. All other text
// stays byte for byte, including comments and formatting, and new text follows its
// indentation and line ends.
//
// The error is a [diag.LaunchInvalid] with line and column if the text is not JSON with
// comments, or does not have the structure of a launch.json. Configure is idempotent.
func Configure(existing []byte, l Launch) (out []byte, changed bool, err error) {
	return configure("launch.json", existing, l)
}

// configure is Configure with the file's name in errors.
func configure(name string, existing []byte, l Launch) ([]byte, bool, error) {
	if l.Name == "" || l.Host == "" || l.Port < 1 || l.Port > 65535 {
		return nil, false, diag.Errorf(diag.Usage, "launch configuration %q: needs a name, a host and a port, got host %q port %d", l.Name, l.Host, l.Port)
	}
	if len(existing) > maxLaunchSize {
		return nil, false, diag.Errorf(diag.LaunchInvalid, "%s: larger than %d bytes", name, maxLaunchSize)
	}
	out, err := merge(existing, l)
	if at, ok := errors.AsType[*positionError](err); ok {
		return nil, false, diag.Errorf(diag.LaunchInvalid, "%s:%d:%d: %s", name, at.line, at.column, at.message)
	}
	if err != nil {
		return nil, false, err
	}
	return out, !bytes.Equal(out, existing), nil
}

// merge edits text until it contains l. Each step parses the text again, so that no
// edit needs to know how earlier ones moved offsets.
func merge(text []byte, l Launch) ([]byte, error) {
	bom := []byte("\uFEFF")
	body, hasBOM := bytes.CutPrefix(text, bom)
	body = ensureRoot(body)
	for range 16 { // two keys of the file, one configuration and its keys: at most 10
		doc, err := parse(body)
		if err != nil {
			return nil, err
		}
		edit, err := nextEdit(doc, l)
		if err != nil {
			return nil, err
		}
		if edit == nil {
			if hasBOM {
				body = append(bom, body...)
			}
			return body, nil
		}
		body = doc.apply(edit)
	}
	return nil, diag.Errorf(diag.Internal, "launch.json: too many edits")
}

// nextEdit returns the next edit that the document needs, or nil if it needs none.
func nextEdit(doc *document, l Launch) ([]splice, error) {
	root, ok := doc.root.Value.(*hujson.Object)
	if !ok {
		return nil, doc.errorAt(&doc.root, "expected an object")
	}
	if len(root.Members) == 0 {
		return doc.appendMember(&doc.root, field{"version", hujson.String("0.2.0")}), nil
	}
	list := findMember(root, "configurations")
	if list == nil {
		return doc.appendMember(&doc.root, field{"configurations", hujson.Literal("[]")}), nil
	}
	configurations, ok := list.Value.(*hujson.Array)
	if !ok {
		return nil, doc.errorAt(list, "configurations: expected an array")
	}
	want := l.fields()
	for i := range configurations.Elements {
		conf := &configurations.Elements[i]
		if obj, ok := conf.Value.(*hujson.Object); ok && hasValue(findMember(obj, "name"), want[0].value) {
			return updateConfiguration(doc, conf, want[firstPinned:])
		}
	}
	return doc.appendElement(list, want), nil
}

// updateConfiguration returns the edit that sets the first field of want that conf
// lacks.
func updateConfiguration(doc *document, conf *hujson.Value, want []field) ([]splice, error) {
	for _, f := range want {
		got := findMember(conf.Value.(*hujson.Object), f.name)
		switch {
		case got == nil:
			return doc.appendMember(conf, f), nil
		case hasValue(got, f.value):
		case got.Value.Kind() == '{' || got.Value.Kind() == '[':
			return nil, doc.errorAt(got, f.name+": expected a plain value") // it may hold comments
		default:
			return []splice{{got.StartOffset, got.EndOffset, string(f.value)}}, nil
		}
	}
	return nil, nil
}

type field struct {
	name  string
	value hujson.Literal
}

// firstPinned is the index in fields of the first field that the user must not change:
// the IDE reaches dapbridge only with these values.
const firstPinned = 3

func (l Launch) fields() []field {
	return []field{
		{"name", hujson.String(l.Name)},
		{"type", hujson.String("go")},
		{"request", hujson.String("attach")},
		{"mode", hujson.String("remote")},
		// Without it, the Go extension first runs a helper of the host's dlv.
		{"debugAdapter", hujson.String("dlv-dap")},
		{"host", hujson.String(l.Host)},
		{"port", hujson.Int(int64(l.Port))},
	}
}

// findMember returns the value of the last member called name, the one that VS Code
// uses, or nil.
func findMember(obj *hujson.Object, name string) *hujson.Value {
	for i := len(obj.Members) - 1; i >= 0; i-- {
		if m := &obj.Members[i]; m.Name.Value.(hujson.Literal).String() == name {
			return &m.Value
		}
	}
	return nil
}

// hasValue reports whether v, which may be nil, is the same string or number as want,
// however it is written.
func hasValue(v *hujson.Value, want hujson.Literal) bool {
	if v == nil || v.Value.Kind() != want.Kind() {
		return false
	}
	got := v.Value.(hujson.Literal)
	if want.Kind() == '"' {
		return got.String() == want.String()
	}
	return got.Float() == want.Float()
}
