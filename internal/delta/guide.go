package delta

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
)

// guide knows where in the former file the pieces of another one have been: what
// was put in or taken out has moved all that is behind it.
//
// It remembers landmarks of the former file: places that are chosen by the bytes
// in front of them alone, so that they are chosen again in the other file. Each
// that a piece has in common with the former file tells how far it has moved, and
// what most of them tell counts.
type guide struct {
	gear  [256]uint64
	marks map[uint64]int64 // place of each landmark; ambiguous if there are several
	moved int64            // how far the last piece had moved: the next one likely did too
}

const (
	ambiguous = -1
	// rarity: one place of so many is a landmark, as a power of two. So a piece has
	// dozens of them, and a former file of 80 MB some ten thousand.
	rarity = 12
	// nearby is how much two movements may differ and count as one, as a power of
	// two: functions are padded to a multiple of 32 bytes, sections to a page.
	nearby = 14
)

func newGuide(former *io.SectionReader) (*guide, error) {
	g := &guide{marks: map[uint64]int64{}}
	random := rand.New(rand.NewPCG(1, 2)) // any numbers will do
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

// landmarks calls f for each landmark in b, with a hash of the 32 bytes in front
// of it (a gear hash: each byte is shifted out in the end), and returns the hash
// at the end of b, which goes on where the next part follows.
func (g *guide) eachLandmark(hash uint64, b []byte, f func(mark uint64, i int)) uint64 {
	for i, c := range b {
		if hash = hash<<2 + g.gear[c]; hash>>(64-rarity) == 0 {
			f(hash, i)
		}
	}
	return hash
}

// formerly returns where in the former file a piece has begun, which may be
// outside of it. The pieces come in their order.
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
