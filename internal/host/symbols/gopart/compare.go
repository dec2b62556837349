package gopart

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// Compare compares the twin with the target, whose fingerprint is want. It returns where
// the target's sections are if Go's part is the same in both, a [*Difference] if it is
// not. Memory is bounded by the largest section.
func Compare(ctx context.Context, x *elf.File, want exe.Fingerprint, target Target) (*Placement, error) {
	t, err := open(x)
	if err != nil {
		return nil, err
	}
	if want.Type != x.Type || want.Arch != map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[x.Machine] {
		return nil, &Difference{Section: "type of the executable", Reason: fmt.Sprintf("%s %v instead of %s %v", x.Machine, x.Type, want.Arch, want.Type)}
	}
	p, err := newPlacement(x, t.symbols, want)
	if err != nil {
		return nil, err
	}
	if err := t.readPlaces(p); err != nil {
		return nil, err
	}
	c := &comparison{twin: t, Placement: p, source: target, foreign: map[foreignKey]uint64{}}
	if err := c.readDynamic(ctx); err != nil {
		return nil, err
	}
	if err := c.place(ctx); err != nil {
		return nil, err
	}
	for _, s := range p.sorted() {
		if err := c.compareSection(ctx, s); err != nil {
			return nil, err
		}
	}
	return p, c.compareDynamic()
}

// comparison is the state of one Compare.
type comparison struct {
	*twin
	*Placement
	source  Target
	ours    dynamic
	theirs  dynamic
	foreign map[foreignKey]uint64
}

// foreignKey names something of C's that Go's part refers to: a symbol, its entry in the
// global offset table, or a part of the address of a place relative to it.
type foreignKey struct {
	symbol uint32
	got    bool
	kind   uint32 // of the relocation, if it holds a part of an address
	addend uint64
}

// blockSize is the size of the parts of a section that are transferred if they differ.
const blockSize = 64 << 10

// contentLimit is what one call to Content returns at most, in bytes.
const contentLimit = exe.ContentLimit

// read returns a part of a section of the target. same is what it probably is.
func (c *comparison) read(ctx context.Context, s exe.Section, offset uint64, same []byte) ([]byte, error) {
	if offset > s.Size || uint64(len(same)) > s.Size-offset {
		return nil, &Difference{Section: s.Name, Reason: "it ends early"}
	}
	r := exe.Range{Section: s.Name, Offset: offset, Size: uint64(len(same)), Block: blockSize}
	hashes, err := c.source.Blocks(ctx, r)
	if err != nil {
		return nil, err
	}
	if want := (len(same) + blockSize - 1) / blockSize * exe.BlockHash; len(hashes) != want {
		return nil, fmt.Errorf("the node sent %d bytes of hashes, want %d", len(hashes), want)
	}
	out := bytes.Clone(same)
	for at := 0; at < len(out); at += blockSize {
		end := min(at+blockSize, len(out))
		if bytes.Equal(exe.HashBlock(same[at:end]), hashes[at/blockSize*exe.BlockHash:][:exe.BlockHash]) {
			continue
		}
		if err := c.readContent(ctx, s, offset+uint64(at), out[at:end]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readContent fills b with a part of a section of the target.
func (c *comparison) readContent(ctx context.Context, s exe.Section, offset uint64, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), contentLimit)
		part, err := c.source.Content(ctx, exe.Range{Section: s.Name, Offset: offset, Size: uint64(n)})
		if err != nil {
			return err
		}
		if len(part) != n {
			return fmt.Errorf("the node sent %d bytes of section %s, want %d", len(part), s.Name, n)
		}
		copy(b, part)
		b, offset = b[n:], offset+uint64(n)
	}
	return nil
}

// place finds where Go's part of each section is in the target: in the table of sections
// that the runtime has, which is in a section of Go's own.
func (c *comparison) place(ctx context.Context) error {
	module, s, err := c.findModuleData()
	if err != nil {
		return err
	}
	offset := module.Value - s.Addr
	ours := make([]byte, module.Size)
	if _, err := s.ReadAt(ours, int64(offset)); err != nil {
		return err
	}
	theirs, err := c.read(ctx, s.target, offset, ours)
	if err != nil {
		return err
	}
	for _, r := range s.relocations {
		at := r.place - module.Value
		if e := findEncoding(c.Machine, r.kind); r.place < module.Value || at+8 > module.Size || e == nil || !e.isPointer() {
			continue
		}
		to := c.find(c.symbol(r), r.addend)
		if to == nil {
			continue
		}
		ourAddr := c.ours.pointer(r.place, c.ByteOrder.Uint64(ours[at:]))
		theirAddr := c.theirs.pointer(r.place+s.shift, c.ByteOrder.Uint64(theirs[at:]))
		if err := to.setShift(theirAddr - ourAddr); err != nil {
			return err
		}
	}
	return c.checkPlaced()
}

func (c *comparison) findModuleData() (elf.Symbol, *section, error) {
	for _, sym := range c.symbols {
		if sym.Name != moduleData {
			continue
		}
		s := c.sections[sym.Section]
		if s == nil || !isGoSection(s.Name) || sym.Size == 0 || sym.Size > blockSize || sym.Value+sym.Size > s.last {
			break
		}
		return sym, s, nil
	}
	return elf.Symbol{}, nil, errors.New("the twin has no symbol " + moduleData)
}

// setShift records where the section's Go part is, which all pointers to it must agree on.
func (s *section) setShift(shift uint64) error {
	if s.placed && s.shift != shift {
		return &Difference{Section: s.Name, Symbol: moduleData, Reason: "the parts of the section are at other distances from each other"}
	}
	s.shift, s.placed = shift, true
	return nil
}

// checkPlaced checks that all parts were found, within the target's sections.
func (c *comparison) checkPlaced() error {
	for _, s := range c.sorted() {
		if !s.placed {
			return &Difference{Section: s.Name, Reason: "the target's runtime does not know where it is"}
		}
		if first := s.first + s.shift; first < s.target.Addr || first-s.target.Addr > s.target.Size || s.last-s.first > s.target.Size-(first-s.target.Addr) {
			return &Difference{Section: s.Name, Reason: "the target's is too small"}
		}
	}
	return nil
}

// compareSection compares Go's part of a section.
func (c *comparison) compareSection(ctx context.Context, s *section) error {
	if s.Type == elf.SHT_NOBITS {
		return nil
	}
	all, err := readAll(s.Section)
	if err != nil {
		return err
	}
	if s.last-s.Addr > uint64(len(all)) {
		return fmt.Errorf("the twin's section %s is malformed", s.Name)
	}
	ours := all[s.first-s.Addr : s.last-s.Addr]
	theirs, err := c.readWhole(ctx, s, ours)
	if err != nil {
		return err
	}
	for _, r := range s.relocations {
		if err := c.relocate(s, r, ours, theirs); err != nil {
			return err
		}
	}
	c.ignoreChecksum(s, ours, theirs)
	if at := firstDifference(ours, theirs); at >= 0 {
		return c.difference(s, s.first+uint64(at), "the target has other code or data there")
	}
	return nil
}

// foreignLimit bounds C's part of a section of the target, in bytes.
const foreignLimit = 256 << 20

// readWhole reads a section of the target and returns Go's part of it; ours is the twin's.
// What the node sends must be what its fingerprint stands for: the debug file is kept under
// that, and other nodes with the same program get it.
func (c *comparison) readWhole(ctx context.Context, s *section, ours []byte) ([]byte, error) {
	first := s.first + s.shift - s.target.Addr
	last := first + uint64(len(ours))
	if s.target.Size-uint64(len(ours)) > foreignLimit {
		return nil, &Difference{Section: s.Name, Reason: "the target's is too large"}
	}
	head, tail := make([]byte, first), make([]byte, s.target.Size-last)
	theirs, err := c.read(ctx, s.target, first, ours)
	if err == nil {
		err = c.readContent(ctx, s.target, 0, head)
	}
	if err == nil {
		err = c.readContent(ctx, s.target, last, tail)
	}
	if err != nil {
		return nil, err
	}
	return theirs, checkHash(s.target, head, theirs, tail)
}

// checkHash checks that the parts of a section have the hash of the node's fingerprint.
func checkHash(s exe.Section, parts ...[]byte) error {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	if hex.EncodeToString(h.Sum(nil)) != s.Hash {
		return fmt.Errorf("the node's section %s is not what its fingerprint says", s.Name)
	}
	return nil
}

// ignoreChecksum makes the checksum equal that the Go linker computes of the cryptographic
// module after everything has been linked, and which therefore covers addresses
// (cmd/link/internal/ld/fips.go).
func (c *comparison) ignoreChecksum(s *section, ours, theirs []byte) {
	const offset, size = 16, 32
	if s.Name != ".go.fipsinfo" || len(ours) < offset+size {
		return
	}
	copy(ours[offset:offset+size], theirs[offset:])
}

// relocate changes the field of a relocation in ours to what it must be in theirs.
func (c *comparison) relocate(s *section, r relocation, ours, theirs []byte) error {
	e := findEncoding(c.Machine, r.kind)
	at := int(r.place - s.first)
	if e == nil || at+e.size > len(ours) {
		return nil
	}
	b := ours[at : at+e.size]
	field := e.get(c.ByteOrder, b)
	sym := c.symbol(r)
	addr := e.decode(field, r.place)
	if to := c.find(sym, r.addend); to != nil && !e.got {
		if field == 0 && e.isPointer() && c.ours.has(r.place) {
			return nil // the loader writes it; compareDynamic compares it
		}
		if e.part {
			addr = sym.Value + r.addend
		}
		e.put(c.ByteOrder, b, e.encode(field, r.place+s.shift, addr+to.shift))
		return nil
	}
	// C's symbols may be anywhere, but each of them is in one place.
	theirAddr := e.decode(e.get(c.ByteOrder, theirs[at:]), r.place+s.shift)
	key := foreignKey{symbol: r.symbol, got: e.got}
	if e.part {
		key.kind, key.addend = r.kind, r.addend
	}
	if !c.learn(key, theirAddr-addr) {
		return c.difference(s, r.place, "it refers to something else than "+sym.Name)
	}
	e.put(c.ByteOrder, b, e.encode(field, r.place+s.shift, theirAddr))
	return nil
}

// learn records how far a symbol of C's is from its place in the twin, and reports
// whether that agrees with what is known.
func (c *comparison) learn(key foreignKey, delta uint64) bool {
	known, ok := c.foreign[key]
	if !ok {
		c.foreign[key] = delta
		return true
	}
	return known == delta
}

func (c *comparison) difference(s *section, addr uint64, reason string) error {
	return &Difference{Section: s.Name, Symbol: c.symbolAt(s, addr), Reason: reason}
}

// firstDifference returns the offset of the first byte that differs, -1 if there is none.
func firstDifference(a, b []byte) int {
	for at := 0; at < len(a); at += blockSize {
		end := min(at+blockSize, len(a))
		if bytes.Equal(a[at:end], b[at:end]) {
			continue
		}
		for i := at; i < end; i++ {
			if a[i] != b[i] {
				return i
			}
		}
	}
	return -1
}
