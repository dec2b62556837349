package pathmap

import "fmt"

// WithClient returns m overlaid with an IDE's own substitutePath: the Host of each pair is
// the IDE's path (from), its Node the debugger's (to). The pairs take precedence over m, and
// earlier pairs over later ones, as in Delve.
//
// A pair's Node is a host path, to which m is applied, if it lies deeper in the tree of
// a rule's Host than in that of any rule's Node. So an IDE that sees the host's tree
// under another path, say in a container, works too. Otherwise it is a node path. A pair
// that repeats a rule changes nothing, and no path is mapped twice. An empty Node stands
// for the relative paths of a -trimpath build.
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

// chain applies m to the Node of r if that is a host path.
func (m *Map) chain(r Rule) Rule {
	p := normalize([]byte(r.Node))
	host, asHost := m.toNode.find(m.toNode.foldCase(p))
	node, asNode := m.toHost.find(p)
	if host != nil && (node == nil || asHost > asNode) {
		r.Node, _ = m.ToNode(r.Node)
	}
	return r
}

// layer adds r where no earlier rule covers it.
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

// Over returns m layered over base: a rule of base applies only to paths that no rule of
// m covers, even if it is more specific.
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
