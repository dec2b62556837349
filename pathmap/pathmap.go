// Package pathmap maps between host paths, where the IDE and the sources are, and node
// paths, as the target's debug information has them. A [Map] holds the rules, [Infer]
// derives them from a binary, and a [Rewriter] applies them to debug messages. The
// package is pure: it uses no files, processes or network except through its arguments.
package pathmap

import (
	"fmt"
	"slices"
)

// Rule maps the tree or file Host to the tree or file Node.
type Rule struct {
	Host   string // absolute; C:\x, C:/x and \\server\share\x count as absolute
	Node   string // with slashes; may be relative, see [New]
	Reason string // where the rule comes from, shown to the user
	Scope  Scope
}

// Scope is the direction of the messages that a rule applies to.
type Scope int

// The scopes.
const (
	Both       Scope = iota
	OnlyToNode       // Host is an alias, which the IDE may send but never gets
	OnlyToHost       // Node is an alias, which the node may send but never gets
)

// String returns the rule in the form of the --map flag's argument.
func (r Rule) String() string { return r.Host + "=" + r.Node }

// Map is an immutable set of rules, safe for concurrent use. A nil *Map and
// the zero value map nothing.
type Map struct {
	rules  []Rule
	toNode table
	toHost table
}

// New returns the Map of rules. A Host must be absolute. A Node is absolute or what
// -trimpath leaves: a module path such as example.com/mod@v1.2.3, "std" for the standard
// library, or "." for all relative paths without another rule. Paths are cleaned. A rule
// may occur twice; it is an error if one Host is mapped to two Nodes, or one Node to two
// Hosts, in the same direction.
func New(rules ...Rule) (*Map, error) {
	m := newMap()
	for _, r := range rules {
		if err := m.add(r); err != nil {
			return nil, fmt.Errorf("map %s: %w", r, err)
		}
	}
	return m, nil
}

func newMap() *Map {
	return &Map{toNode: newTable(), toHost: newTable()}
}

func (m *Map) add(r Rule) error {
	r, err := checkRule(r)
	if err != nil {
		return err
	}
	host, node := m.toNode.key(r.Host), m.toHost.key(r.Node)
	byHost, known := m.toNode.trees[host]
	byNode, taken := m.toHost.trees[node]
	known, taken = known && r.Scope != OnlyToHost, taken && r.Scope != OnlyToNode
	switch {
	case known && m.toHost.key(byHost.tree) != node:
		return fmt.Errorf("%s is already mapped to %s", r.Host, byHost.tree)
	case taken && m.toNode.key(byNode.tree) != host:
		return fmt.Errorf("%s is already mapped from %s", r.Node, byNode.tree)
	case known && taken || r.Scope != Both && (known || taken):
		return nil
	}
	m.rules = append(m.rules, r)
	if r.Scope != OnlyToHost {
		m.toNode.set(host, newEntry(r.Node, r))
	}
	if r.Scope != OnlyToNode {
		m.toHost.set(node, newEntry(r.Host, r))
	}
	return nil
}

// Rules returns the cleaned rules in their original order.
func (m *Map) Rules() []Rule {
	if m == nil {
		return nil
	}
	return slices.Clone(m.rules)
}

// ToNode returns the node path of a host path. The rule with the longest Host that is
// the path or a parent of it wins. The path is cleaned first, so that no ".." leaves a
// rule's tree. If there is no such rule, ToNode returns host itself and false.
func (m *Map) ToNode(host string) (string, bool) {
	if m == nil {
		return host, false
	}
	return m.toNode.translateString(host)
}

// ToHost is the inverse of [Map.ToNode]. The result has the separators of the rule's
// Host.
func (m *Map) ToHost(node string) (string, bool) {
	if m == nil {
		return node, false
	}
	return m.toHost.translateString(node)
}

// Covering returns the rules that cover path in that direction: first the one that
// applies, then the less specific ones that it takes precedence over.
func (m *Map) Covering(path string, dir Direction) []Rule {
	if m == nil {
		return nil
	}
	t := m.toNode
	if dir == ToHost {
		t = m.toHost
	}
	var rules []Rule
	for _, e := range t.findAll(t.foldCase(normalize([]byte(path)))) {
		rules = append(rules, e.rule)
	}
	return rules
}

// IgnoreCase returns m for a host whose file system ignores case. Since the node's does
// not, a node path gets the case that it has in files, the target's files; if two of
// them differ only in case, the first wins.
func (m *Map) IgnoreCase(files []string) *Map {
	if m == nil {
		return nil
	}
	out := newMap()
	out.toNode.names = make(map[string]string, len(files))
	for _, f := range files {
		if folded := string(fold([]byte(f))); out.toNode.names[folded] == "" {
			out.toNode.names[folded] = f
		}
	}
	out.toHost, out.toNode.real = m.toHost, m.toNode.real
	for _, r := range m.rules {
		key := out.toNode.key(r.Host)
		if _, known := out.toNode.trees[key]; known && r.Scope == OnlyToNode {
			continue // differs only in case
		}
		out.rules = append(out.rules, r)
		if e, ok := m.toNode.trees[m.toNode.key(r.Host)]; ok {
			out.toNode.set(key, e)
		}
	}
	return out
}

// Resolve returns m for a host with symbolic links: a host path without a rule is mapped
// as real(path), which resolves links and returns path itself if it cannot. real is
// called while a message is rewritten, so it must be fast.
func (m *Map) Resolve(real func(path string) string) *Map {
	if m == nil {
		return nil
	}
	out := *m
	out.toNode.real = real
	return &out
}
