package delta

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
)

// guide finds the places of a new file's pieces in the former file. They differ, since an
// insertion or a deletion moves everything after it.
//
// It remembers landmarks of the former file. These are positions that are determined only
// by the bytes before them, so that the new file has the same ones. Each landmark that a
// piece shares with the former file gives a distance by which the piece has moved, and
// the most frequent distance wins.
type guide struct {
	gear  [256]uint64
	marks map[uint64]int64 // position of each landmark; ambiguous if there are several
	moved int64            // by how much the last piece has moved; the default for the next one
}

const (
	ambiguous = -1
	// rarity is the binary logarithm of the mean distance between landmarks. So a piece
	// has dozens of them, and a former file of 80 MB about ten thousand.
	rarity = 12
	// nearby is the binary logarithm of the difference up to which two distances count
	// as the same: functions are padded to a multiple of 32 bytes, sections to a page.
	nearby = 14
)

func newGuide(former *io.SectionReader) (*guide, error) {
	g := &guide{marks: map[uint64]int64{}}
	random := rand.New(rand.NewPCG(1, 2)) // the values are arbitrary
	for i := range g.gear {
		g.gear[i] = random.Uint64()
	}
	part := make([]byte, 1<<20)
	var hash uint64
	for at := int64(0); at < former.Size(); {
		n, err := former.ReadAt(part[:min(int64(len(part)), former.Size()-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		hash = g.eachLandmark(hash, part[:n], func(mark uint64, i int) {
			if _, ok := g.marks[mark]; ok {
				g.marks[mark] = ambiguous
			} else {
				g.marks[mark] = at + int64(i)
			}
		})
		at += int64(n)
	}
	return g, nil
}

// eachLandmark calls f for each landmark in b, with the hash of the 32 bytes before it (a
// gear hash, which shifts each byte out eventually). It returns the hash at the end of b,
// with which the following part continues.
func (g *guide) eachLandmark(hash uint64, b []byte, f func(mark uint64, i int)) uint64 {
	for i, c := range b {
		if hash = hash<<2 + g.gear[c]; hash>>(64-rarity) == 0 {
			f(hash, i)
		}
	}
	return hash
}

// findStart returns the expected start in the former file, possibly out of range, of the
// piece at position at. It must be called for the pieces in order.
func (g *guide) findStart(at int64, piece []byte) int64 {
	if g == nil {
		return 0
	}
	votes := map[int64]int{}
	g.eachLandmark(0, piece, func(mark uint64, i int) {
		if was, ok := g.marks[mark]; ok && was != ambiguous {
			votes[(was-at-int64(i))>>nearby]++
		}
	})
	last := g.moved >> nearby
	best := last
	for _, v := range slices.Sorted(maps.Keys(votes)) {
		if votes[v] > votes[best] {
			best = v
		}
	}
	if best != last {
		g.moved = best<<nearby + 1<<(nearby-1)
	}
	return at + g.moved
}
