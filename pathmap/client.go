package pathmap

import "fmt"

// WithClient returns m under an IDE's own substitutePath: each pair's Host is
// the IDE's path (from), its Node the server's (to). The pairs come first, and
// among them the earlier one, as in Delve; m is for what they don't cover.
//
// A pair's Node is a path of the node if a rule of m says so or no rule knows
// it. Where it lies in the tree of a rule's Host, more so than in that of any
// Node, it is a path of the host and the rule is applied to it: an IDE that
// sees the host's tree elsewhere, say in a container, is served too. So a pair
// that repeats a rule changes nothing, and nothing is mapped twice. An empty
// Node stands for the relative paths of a -trimpath build.
func (m *Map) WithClient(sub []Rule) (*Map, error) {
	if m == nil {
		m = &Map{}
	}
	client := newMap()
	client.toNode.names = m.toNode.names
	for _, r := range sub {
		if r.Node == "" {
			r.Node = "."
		}
		if r.Reason == "" {
			r.Reason = "substitutePath"
		}
		checked, err := checkRule(r)
		if err != nil {
			return nil, fmt.Errorf("substitutePath from %q to %q: %w", r.Host, r.Node, err)
		}
		client.layer(m.chain(checked))
	}
	return client.Over(m), nil
}

// chain applies m to the Node of r if that is a path of the host.
func (m *Map) chain(r Rule) Rule {
	p := normalize([]byte(r.Node))
	host, asHost := m.toNode.find(m.toNode.foldCase(p))
	node, asNode := m.toHost.find(p)
	if host != nil && (node == nil || asHost > asNode) {
		r.Node, _ = m.ToNode(r.Node)
	}
	return r
}

// layer adds r where no rule before it applies.
func (m *Map) layer(r Rule) {
	host, node := m.toNode.key(r.Host), m.toHost.key(r.Node)
	below, above := m.toNode.covers(host), m.toHost.covers(node)
	if !below {
		m.toNode.set(host, newEntry(r.Node, r))
	}
	if !above {
		m.toHost.set(node, newEntry(r.Host, r))
	}
	if !below || !above {
		m.rules = append(m.rules, r)
	}
}

// Over returns m on top of base: a rule of base is for those paths that no rule
// of m is for, even if its tree lies in one of theirs.
func (m *Map) Over(base *Map) *Map {
	if m == nil {
		return base
	}
	if base == nil {
		return m
	}
	out := newMap()
	out.rules = m.Rules()
	out.toNode.names, out.toNode.real = base.toNode.names, base.toNode.real
	out.toNode.layer(m.toNode, base.toNode)
	out.toHost.layer(m.toHost, base.toHost)
	for _, r := range base.rules {
		if !m.toNode.covers(base.toNode.key(r.Host)) || !m.toHost.covers(base.toHost.key(r.Node)) {
			out.rules = append(out.rules, r)
		}
	}
	return out
}
