//go:build linux

package functable

import (
	"encoding/binary"
	"slices"
)

// inlinedCall is a call whose callee was inlined (runtime/symtabinl.go).
type inlinedCall struct {
	name     string
	site     row    // of the call in the caller
	ranges   []span // of its code, offsets from the function's entry
	children []*inlinedCall
}

// depthLimit bounds how deep inlined calls may be nested.
const depthLimit = 1000

// inlinedCalls returns the calls that were inlined into the function itself.
func (t *table) inlinedCalls(f *function) (calls []*inlinedCall) {
	if f.inlined == 0 {
		return nil
	}
	known := map[int64]*inlinedCall{}
	for _, r := range f.rows {
		var callee *inlinedCall // of the last iteration, if its caller is not known yet
		for _, c := range t.callChain(f, r, known) {
			if callee != nil {
				c.children = append(c.children, callee)
				callee = nil
			}
			if len(c.ranges) == 0 {
				callee = c
			}
			c.extend(r)
		}
		if callee != nil {
			calls = append(calls, callee)
		}
	}
	return calls
}

// callChain returns the inlined calls that a row is in, from the innermost one out. It
// returns none if a call's site is inside of the call: that is how the compiler describes a
// call of whose caller nothing is left (go.opentelemetry.io/otel/semconv has some).
func (t *table) callChain(f *function, r row, known map[int64]*inlinedCall) (chain []*inlinedCall) {
	for i := r.inlined; i >= 0; i = known[i].site.inlined {
		if known[i] == nil {
			known[i] = t.inlinedCall(f, i)
		}
		if slices.Contains(chain, known[i]) {
			return nil
		}
		chain = append(chain, known[i])
		if len(chain) > depthLimit {
			panic("inlined calls are nested too deeply")
		}
		t.spend()
	}
	return chain
}

// inlinedCall reads the description of a call.
func (t *table) inlinedCall(f *function, i int64) *inlinedCall {
	b := t.slice(f.inlined+16*uint64(i), 16)
	return &inlinedCall{
		name: t.name(binary.LittleEndian.Uint32(b[4:])),
		site: f.rowAt(uint64(binary.LittleEndian.Uint32(b[8:]))),
	}
}

// extend adds a row to the call's code. Rows come in ascending order.
func (c *inlinedCall) extend(r row) {
	if last := len(c.ranges) - 1; last >= 0 && c.ranges[last].end == r.start {
		c.ranges[last].end = r.end
		return
	}
	c.ranges = append(c.ranges, span{r.start, r.end})
}
