// Package pathmap translates between the paths of the host, where the IDE and
// the sources are, and those of the node, as the target's debug information
// spells them: a [Map] holds the rules, [Infer] derives them from a binary and
// [Map.Rewrite] applies them to a debug message. It opens no file, starts no
// process and needs no network; what it knows of the world is handed in.
package pathmap

import (
	"fmt"
	"slices"
)

// Rule maps the tree at Host to the tree at Node.
type Rule struct {
	Host   string // absolute; C:\x, C:/x and \\server\share\x count as absolute
	Node   string // with slashes; relative for a -trimpath build, see [New]
	Reason string // where the rule comes from, shown to people
}

// String returns the rule as --map takes it.
func (r Rule) String() string { return r.Host + "=" + r.Node }

// Map is an immutable set of rules, safe for concurrent use. A nil *Map and
// the zero value map nothing.
type Map struct {
	rules  []Rule
	toNode table
	toHost table
}

// New returns the Map of rules. Hosts must be absolute. A Node is absolute, or
// what -trimpath leaves of it: a module path such as example.com/mod@v1.2.3,
// or "." for every relative path that no other rule maps (the standard
// library). Paths are cleaned. A rule may occur twice; one host with two
// nodes, or one node with two hosts, is an error.
func New(rules ...Rule) (*Map, error) {
	m := &Map{toNode: table{}, toHost: table{}}
	for _, r := range rules {
		if err := m.add(r); err != nil {
			return nil, fmt.Errorf("map %s: %w", r, err)
		}
	}
	return m, nil
}

func (m *Map) add(r Rule) error {
	r, err := check(r)
	if err != nil {
		return err
	}
	host, node := key(r.Host), key(r.Node)
	here, known := m.toNode[host]
	there, taken := m.toHost[node]
	switch {
	case known && taken && key(here.tree) == node:
		return nil
	case known:
		return fmt.Errorf("%s is mapped to %s already", r.Host, here.tree)
	case taken:
		return fmt.Errorf("%s is mapped from %s already", r.Node, there.tree)
	}
	m.rules = append(m.rules, r)
	m.toNode[host] = newEntry(r.Node)
	m.toHost[node] = newEntry(r.Host)
	return nil
}

// Rules returns the rules in the order in which they were given, cleaned.
func (m *Map) Rules() []Rule {
	if m == nil {
		return nil
	}
	return slices.Clone(m.rules)
}

// ToNode translates a path of the host. The rule with the longest Host that is
// the path or a parent of it wins; the path is cleaned first, so that no ".."
// leaves a rule's tree. It reports false, and returns host as it is, if there
// is no such rule.
func (m *Map) ToNode(host string) (string, bool) {
	if m == nil {
		return host, false
	}
	return m.toNode.translateString(host)
}

// ToHost translates a path of the node, as [Map.ToNode] does the other way.
// The result has the separators of the rule's Host.
func (m *Map) ToHost(node string) (string, bool) {
	if m == nil {
		return node, false
	}
	return m.toHost.translateString(node)
}
