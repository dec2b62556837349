package pathmap

import (
	"fmt"
	"maps"
)

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
	client := &Map{toNode: table{}, toHost: table{}}
	for _, r := range sub {
		if r.Node == "" {
			r.Node = "."
		}
		if r.Reason == "" {
			r.Reason = "substitutePath"
		}
		checked, err := check(r)
		if err != nil {
			return nil, fmt.Errorf("substitutePath from %q to %q: %w", r.Host, r.Node, err)
		}
		client.layer(m.chain(checked))
	}
	return client.above(m), nil
}

// chain applies m to the Node of r if that is a path of the host.
func (m *Map) chain(r Rule) Rule {
	p := normal([]byte(r.Node))
	_, asHost, ok := m.toNode.find(p)
	_, asNode, known := m.toHost.find(p)
	if ok && (!known || asHost > asNode) {
		r.Node, _ = m.ToNode(r.Node)
	}
	return r
}

// layer adds r where no rule before it applies.
func (m *Map) layer(r Rule) {
	host, node := key(r.Host), key(r.Node)
	below, above := m.toNode.covers(host), m.toHost.covers(node)
	if !below {
		m.toNode[host] = newEntry(r.Node)
	}
	if !above {
		m.toHost[node] = newEntry(r.Host)
	}
	if !below || !above {
		m.rules = append(m.rules, r)
	}
}

// above returns m with those entries of base that no rule of m applies to.
func (m *Map) above(base *Map) *Map {
	out := &Map{rules: m.Rules(), toNode: maps.Clone(m.toNode), toHost: maps.Clone(m.toHost)}
	for k, e := range base.toNode {
		if !m.toNode.covers(k) {
			out.toNode[k] = e
		}
	}
	for k, e := range base.toHost {
		if !m.toHost.covers(k) {
			out.toHost[k] = e
		}
	}
	for _, r := range base.rules {
		if !m.toNode.covers(key(r.Host)) || !m.toHost.covers(key(r.Node)) {
			out.rules = append(out.rules, r)
		}
	}
	return out
}
