//go:build linux

package functable

import (
	"errors"
	"slices"
)

// goroutines is what is needed to list a program's goroutines.
type goroutines struct {
	g   *goType // runtime.g
	all uint64  // address of runtime.allgs
	tls int64   // where a thread's g is, relative to the thread pointer; only on amd64
}

// findGoroutines finds out how to list the goroutines of the running program.
func (t *table) findGoroutines() (*goroutines, error) {
	g, err := t.findStruct("runtime.g")
	if err != nil {
		return nil, err
	}
	tls, err := t.findThreadLocalG()
	if err != nil {
		return nil, err
	}
	id, hasID := g.offset("goid")
	start, hasStart := g.offset("startpc")
	if !hasID || !hasStart {
		return nil, errors.New("the type runtime.g is not as expected")
	}
	main, ok := t.entryOf("runtime.main")
	if !ok {
		return nil, errors.New("no function runtime.main")
	}
	s := &listSearch{table: t, id: id, start: start, main: main + t.base, left: candidatesLimit, slices: slicesLimit}
	for range listTries {
		if found := s.find(); len(found) == 1 {
			return &goroutines{g: g, all: found[0], tls: tls}, nil
		}
	}
	return nil, errors.New("the list of goroutines cannot be told from other data")
}

// listLimit bounds the goroutines of a process. The list may grow while it is examined,
// so this is tried again.
const (
	listLimit = 64 << 20
	listTries = 5

	slicesLimit = 1 << 20 // what looks like a slice in all data, and is read from the process
)

// listSearch looks for runtime.allgs. No table says where it is, but it can be recognised:
// a slice of distinct g's and nothing after them, the first of which has the number 1 and
// runs runtime.main.
type listSearch struct {
	*table
	id, start uint64 // offsets in a g
	main      uint64 // the address of runtime.main in the process
	left      int    // candidates that may be examined
	slices    int    // what remains of slicesLimit
}

func (s *listSearch) find() (found []uint64) {
	for _, vars := range s.data {
		for addr := (vars.start + 7) &^ 7; addr+24 <= vars.end; addr += 8 {
			list, n, capacity := s.word(addr), s.word(addr+8), s.word(addr+16)
			if isSlice(list, n, capacity) && s.isMain(list) && s.left > 0 && s.isList(addr) {
				found = append(found, addr)
			}
		}
	}
	return found
}

func isSlice(list, n, capacity uint64) bool {
	return list != 0 && list%8 == 0 && n != 0 && n <= capacity && capacity <= listLimit
}

// isMain reports whether a pointer is at the address that points to the main goroutine.
func (s *listSearch) isMain(list uint64) bool {
	if s.slices--; s.slices < 0 {
		return false
	}
	g, err := s.readWord(list)
	if err != nil || g%8 != 0 {
		return false
	}
	number, err := s.readWord(g + s.id)
	if err != nil || number != 1 {
		return false
	}
	pc, err := s.readWord(g + s.start)
	return err == nil && pc == s.main
}

// isList reports whether the slice at an address, as it is now, holds distinct pointers,
// and nothing between its length and its capacity. It looks at no more than a thousand.
func (s *listSearch) isList(addr uint64) bool {
	s.left--
	var slice [3]uint64
	for i := range slice {
		var err error
		if slice[i], err = s.readWord(addr + s.base + 8*uint64(i)); err != nil {
			return false
		}
	}
	list, n, capacity := slice[0], slice[1], slice[2]
	if !isSlice(list, n, capacity) {
		return false
	}
	if n < capacity {
		if after, err := s.readWord(list + 8*n); err != nil || after != 0 {
			return false
		}
	}
	var all []uint64
	for i := range min(n, 1000) {
		p, err := s.readWord(list + 8*i)
		if err != nil || p == 0 {
			return false
		}
		all = append(all, p)
	}
	slices.Sort(all)
	return len(slices.Compact(all)) == len(all)
}
