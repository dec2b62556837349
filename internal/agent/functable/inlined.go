//go:build linux

package functable

import "encoding/binary"

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
		var callee *inlinedCall // what is inlined into the call of the last iteration
		depth := 0
		for i := r.inlined; i >= 0; i = known[i].site.inlined {
			c := known[i]
			isNew := c == nil
			if isNew {
				c = t.inlinedCall(f, i)
				known[i] = c
			}
			if callee != nil {
				c.children = append(c.children, callee)
			}
			if callee = nil; isNew {
				callee = c
			}
			c.extend(r)
			if depth++; depth > depthLimit {
				panic("inlined calls are nested too deeply")
			}
			t.spend()
		}
		if callee != nil {
			calls = append(calls, callee)
		}
	}
	return calls
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
