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

// Rule maps the tree, or the file, at Host to the one at Node.
type Rule struct {
	Host   string // absolute; C:\x, C:/x and \\server\share\x count as absolute
	Node   string // with slashes; relative for a -trimpath build, see [New]
	Reason string // where the rule comes from, shown to people
	Way    Way
}

// Way says for which messages a rule is.
type Way int

// The ways.
const (
	BothWays   Way = iota
	OnlyToNode     // Host is another name, which the IDE may send and is never sent
	OnlyToHost     // Node is another name
)

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
// "std" for the standard library, or "." for every relative path that no other
// rule maps. Paths are cleaned. A rule may occur twice; one host with two
// nodes, or one node with two hosts, in the same direction is an error.
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
	here, known := m.toNode.trees[host]
	there, taken := m.toHost.trees[node]
	known, taken = known && r.Way != OnlyToHost, taken && r.Way != OnlyToNode
	switch {
	case known && m.toHost.key(here.tree) != node:
		return fmt.Errorf("%s is mapped to %s already", r.Host, here.tree)
	case taken && m.toNode.key(there.tree) != host:
		return fmt.Errorf("%s is mapped from %s already", r.Node, there.tree)
	case known && taken || r.Way != BothWays && (known || taken):
		return nil
	}
	m.rules = append(m.rules, r)
	if r.Way != OnlyToHost {
		m.toNode.set(host, newEntry(r.Node, r))
	}
	if r.Way != OnlyToNode {
		m.toHost.set(node, newEntry(r.Host, r))
	}
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

// Covering returns the rules that are for path in that direction: first the one
// by which it is translated, then those that lost to it, since their trees are
// further above.
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

// IgnoreCase returns m for a host whose file system takes a.go and A.go for the
// same file. Since the node's does not, a path of the host is given the case in
// which one of files, the target's, has it. With two files that differ in
// nothing else, the first counts.
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
		if _, known := out.toNode.trees[key]; known && r.Way == OnlyToNode {
			continue // the same but for its case
		}
		out.rules = append(out.rules, r)
		if e, ok := m.toNode.trees[m.toNode.key(r.Host)]; ok {
			out.toNode.set(key, e)
		}
	}
	return out
}

// Resolve returns m for a host with symbolic links: a path of the host that no
// rule is for is tried once more as real has it, without links. Real is called
// while a message to the node is rewritten, so it must be quick; it returns the
// path itself if it can't tell.
func (m *Map) Resolve(real func(path string) string) *Map {
	if m == nil {
		return nil
	}
	out := *m
	out.toNode.real = real
	return &out
}
