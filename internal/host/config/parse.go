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

// parse returns the values set in a YAML file, in file order and not yet validated. It
// accepts a single mapping of keys, whose values may only be text, numbers, lists and
// mappings. file and layer become the origin of the values.
func parse(file string, layer Layer, text []byte) ([]Value, error) {
	p := parser{file: file}
	doc, err := p.parseDocument(text)
	if doc == nil || err != nil {
		return nil, err
	}
	if doc.Kind != yaml.MappingNode {
		return nil, p.errorf(doc, "expected lines of KEY: VALUE")
	}
	seen := map[string]int{}
	var values []Value
	for i := 0; i < len(doc.Content); i += 2 {
		name, node := doc.Content[i], doc.Content[i+1]
		key, err := p.parseKey(name)
		if err != nil {
			return nil, err
		}
		if line := seen[key.Name]; line > 0 {
			return nil, p.errorf(name, "%s is already set in line %d", key.Name, line)
		}
		seen[key.Name] = name.Line
		texts, err := p.parseValue(key, node)
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

// parseDocument returns the content of the only document, nil if it is empty.
func (p parser) parseDocument(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, p.syntaxError(err)
	}
	if err := dec.Decode(&more); err == nil {
		return nil, p.errorf(&more, "the file has a second document")
	} else if !errors.Is(err, io.EOF) {
		return nil, p.syntaxError(err)
	}
	node := doc.Content[0]
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil, nil // only comments, or ---
	}
	return node, p.refuseAliases(node)
}

// syntaxError converts an error of the YAML parser, keeping its line.
func (p parser) syntaxError(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := regexp.MustCompile(`^line (\d+): (.*)`).FindStringSubmatch(text); m != nil {
		return errorf(diag.ConfigInvalid, "%s:%s: not YAML: %s", p.file, m[1], m[2])
	}
	return errorf(diag.ConfigInvalid, "%s: not YAML: %s", p.file, text)
}

// refuseAliases refuses anchors and aliases, which can make a small file expand to a
// large one.
func (p parser) refuseAliases(n *yaml.Node) error {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return p.errorf(n, "anchors and aliases are not supported: write the value out")
	}
	for _, c := range n.Content {
		if err := p.refuseAliases(c); err != nil {
			return err
		}
	}
	return nil
}

func (p parser) parseKey(n *yaml.Node) (Key, error) {
	if n.Kind != yaml.ScalarNode {
		return Key{}, p.errorf(n, "expected KEY: VALUE")
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

// parseValue returns the node's text if it has the key's kind.
func (p parser) parseValue(key Key, n *yaml.Node) ([]string, error) {
	if key.List() {
		return p.parseList(key, n)
	}
	if n.Kind != yaml.ScalarNode {
		return nil, p.errorf(n, "%s has a single value, not a list or a mapping", key.Name)
	}
	text, err := p.parseScalar(key, n)
	return []string{text}, err
}

func (p parser) parseScalar(key Key, n *yaml.Node) (string, error) {
	switch tag := n.ShortTag(); {
	case tag == "!!null" || tag == "!!str" && n.Value == "":
		return "", p.errorf(n, "%s has no value", key.Name).WithHint("add a value, or remove the line")
	case tag == "!!str" && key.Kind == Switch:
		return "", p.errorf(n, "%s is a switch: write true or false, without quotes", key.Name)
	case tag == "!!str", tag == "!!bool" && key.Kind == Switch:
		return n.Value, nil
	case tag == "!!int" && key.Kind == Duration:
		return "", p.errorf(n, "%s: %s has no unit: write %[2]ss", key.Name, shorten(n.Value))
	}
	return "", p.errorf(n, "%s is a %s, not %s", key.Name, key.Kind, shorten(n.Value)).
		WithHint("put text that looks like a number, a date or a switch in quotes")
}

func (p parser) parseList(key Key, n *yaml.Node) ([]string, error) {
	mapping := n.Kind == yaml.MappingNode && key.Kind == Maps
	if n.Kind != yaml.SequenceNode && !mapping {
		return nil, p.errorf(n, "%s is a list: write each value on its own line after a -", key.Name)
	}
	var texts []string
	for _, c := range n.Content {
		if c.Kind != yaml.ScalarNode {
			return nil, p.errorf(c, "%s is a list of text", key.Name)
		}
		text, err := p.parseScalar(key, c)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	if mapping {
		return p.joinPairs(n, texts)
	}
	return texts, nil
}

// joinPairs joins the keys and values of a mapping to HOST=NODE.
func (p parser) joinPairs(n *yaml.Node, texts []string) ([]string, error) {
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
