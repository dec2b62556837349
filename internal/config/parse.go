package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// parse returns what the YAML in text sets, in its order, each value with its
// line and none checked yet. It takes one mapping of keys and nothing that YAML
// has beyond text, numbers, lists and mappings. file and layer are where it is
// from.
func parse(file string, layer Layer, text []byte) ([]Value, error) {
	p := parser{file: file}
	doc, err := p.document(text)
	if doc == nil || err != nil {
		return nil, err
	}
	if doc.Kind != yaml.MappingNode {
		return nil, p.errorf(doc, "want lines of KEY: VALUE")
	}
	seen := map[string]int{}
	var values []Value
	for i := 0; i < len(doc.Content); i += 2 {
		name, node := doc.Content[i], doc.Content[i+1]
		key, err := p.key(name)
		if err != nil {
			return nil, err
		}
		if line := seen[key.Name]; line > 0 {
			return nil, p.errorf(name, "%s stands in line %d already", key.Name, line)
		}
		seen[key.Name] = name.Line
		texts, err := p.value(key, node)
		if err != nil {
			return nil, err
		}
		values = append(values, Value{key, texts, Origin{layer, file, name.Line}})
	}
	return values, nil
}

type parser struct{ file string }

func (p parser) errorf(at *yaml.Node, format string, args ...any) *diag.Error {
	return errorf(diag.ConfigInvalid, "%s:%d: %s", p.file, at.Line, fmt.Sprintf(format, args...))
}

// document returns the only document's content, nil if there is none.
func (p parser) document(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, p.syntax(err)
	}
	if err := dec.Decode(&more); err == nil {
		return nil, p.errorf(&more, "a second document, of which there may be one")
	} else if !errors.Is(err, io.EOF) {
		return nil, p.syntax(err)
	}
	node := doc.Content[0]
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil, nil // nothing but comments, or ---
	}
	return node, p.plain(node)
}

// syntax turns an error of the YAML reader into one of ours, with its line.
func (p parser) syntax(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := regexp.MustCompile(`^line (\d+): (.*)`).FindStringSubmatch(text); m != nil {
		return errorf(diag.ConfigInvalid, "%s:%s: not YAML: %s", p.file, m[1], m[2])
	}
	return errorf(diag.ConfigInvalid, "%s: not YAML: %s", p.file, text)
}

// plain refuses aliases, which can make a small file large.
func (p parser) plain(n *yaml.Node) error {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return p.errorf(n, "anchors and aliases are not understood here: write the value out")
	}
	for _, c := range n.Content {
		if err := p.plain(c); err != nil {
			return err
		}
	}
	return nil
}

func (p parser) key(n *yaml.Node) (Key, error) {
	if n.Kind != yaml.ScalarNode {
		return Key{}, p.errorf(n, "want KEY: VALUE")
	}
	key, ok := Find(n.Value)
	if ok {
		return key, nil
	}
	err := p.errorf(n, "unknown key %s", strconv.Quote(shorten(n.Value)))
	var names []string
	for _, k := range Keys() {
		names = append(names, k.Name)
	}
	if like := nearest(n.Value, names); like != "" {
		return Key{}, err.WithHint("did you mean %s? the keys are: %s", like, strings.Join(names, ", "))
	}
	return Key{}, err.WithHint("the keys are: %s", strings.Join(names, ", "))
}

// value returns the node's text if it is of the key's kind.
func (p parser) value(key Key, n *yaml.Node) ([]string, error) {
	if key.List() {
		return p.list(key, n)
	}
	if n.Kind != yaml.ScalarNode {
		return nil, p.errorf(n, "%s has one value, not a list or a mapping", key.Name)
	}
	text, err := p.scalar(key, n)
	return []string{text}, err
}

func (p parser) scalar(key Key, n *yaml.Node) (string, error) {
	switch tag := n.ShortTag(); {
	case tag == "!!null" || tag == "!!str" && n.Value == "":
		return "", p.errorf(n, "%s has no value", key.Name).WithHint("write one, or remove the line")
	case tag == "!!str" && key.Kind == Switch:
		return "", p.errorf(n, "%s is a switch: write true or false without quotes", key.Name)
	case tag == "!!str", tag == "!!bool" && key.Kind == Switch:
		return n.Value, nil
	case tag == "!!int" && key.Kind == Duration:
		return "", p.errorf(n, "%s: %s has no unit: write %[2]ss", key.Name, shorten(n.Value))
	}
	return "", p.errorf(n, "%s is a %s, not %s", key.Name, key.Kind, shorten(n.Value)).
		WithHint("put text that looks like a number, a date or a switch in quotes")
}

func (p parser) list(key Key, n *yaml.Node) ([]string, error) {
	mapping := n.Kind == yaml.MappingNode && key.Kind == Maps
	if n.Kind != yaml.SequenceNode && !mapping {
		return nil, p.errorf(n, "%s is a list: write each value behind a - on a line of its own", key.Name)
	}
	var texts []string
	for _, c := range n.Content {
		if c.Kind != yaml.ScalarNode {
			return nil, p.errorf(c, "%s is a list of text", key.Name)
		}
		text, err := p.scalar(key, c)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	if mapping {
		return p.pairs(n, texts)
	}
	return texts, nil
}

// pairs makes HOST=NODE of a mapping's keys and values.
func (p parser) pairs(n *yaml.Node, texts []string) ([]string, error) {
	var rules []string
	seen := map[string]bool{}
	for i := 0; i < len(texts); i += 2 {
		if seen[texts[i]] {
			return nil, p.errorf(n.Content[i], "%s is mapped twice", shorten(texts[i]))
		}
		seen[texts[i]] = true
		rules = append(rules, texts[i]+"="+texts[i+1])
	}
	return rules, nil
}
