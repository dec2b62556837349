package exe

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/dapbridge/dapbridge/internal/diag"
)

const (
	sectionsLimit    = 512 // of an executable; the largest known have 50
	sectionNameLimit = 128
	blocksLimit      = 64 << 10 // hashes in one answer
)

// Fingerprint identifies a program: two executables with the same fingerprint are the
// same in all that is loaded, section by section. It excludes the notes with build
// IDs, which depend on the inputs of a build and not only on its output.
type Fingerprint struct {
	Arch     string    `json:"arch"`
	Type     elf.Type  `json:"type"`
	Entry    uint64    `json:"entry"`
	Sections []Section `json:"sections"`
}

// Section is a section that is loaded.
type Section struct {
	Name  string          `json:"name"`
	Type  elf.SectionType `json:"type"`
	Flags elf.SectionFlag `json:"flags"`
	Addr  uint64          `json:"addr"`
	Size  uint64          `json:"size"`
	Hash  string          `json:"hash,omitempty"` // SHA-256 in hex; "" for a section without content in the file
}

// Fingerprint returns the executable's fingerprint.
func (x *File) Fingerprint() (p *Fingerprint, err error) {
	err = withELF(x.r, func(e executable) error {
		p, err = e.computeFingerprint()
		return err
	})
	return p, err
}

func (e executable) computeFingerprint() (*Fingerprint, error) {
	p := &Fingerprint{Arch: e.goarch(), Type: e.Type, Entry: e.Entry}
	for _, s := range e.File.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Name == ".note.go.buildid" || s.Name == ".note.gnu.build-id" {
			continue
		}
		if len(s.Name) > sectionNameLimit || len(p.Sections) == sectionsLimit {
			return nil, diag.Errorf(diag.TargetNotGo, "malformed executable: too many sections")
		}
		hash, err := hashSection(s)
		if err != nil {
			return nil, diag.Errorf(diag.TargetNotGo, "the executable's section %s cannot be read: %w", s.Name, err)
		}
		p.Sections = append(p.Sections, Section{s.Name, s.Type, s.Flags, s.Addr, s.Size, hash})
	}
	if len(p.Sections) == 0 {
		return nil, diag.Errorf(diag.TargetNotGo, "the executable names no sections: its section headers were taken away")
	}
	return p, nil
}

func hashSection(s *elf.Section) (string, error) {
	if s.Type == elf.SHT_NOBITS {
		return "", nil
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(s.ReaderAt, 0, int64(s.FileSize)))
	if err == nil && n != int64(s.FileSize) {
		err = io.ErrUnexpectedEOF
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// Range is a part of a section, in bytes.
type Range struct {
	Section string `json:"section"`
	Offset  uint64 `json:"offset"`
	Size    uint64 `json:"size"`
	Block   uint64 `json:"block"` // bytes of a block
}

// BlockHash is the length of a hash in bytes: the beginning of a SHA-256, enough to
// tell blocks apart.
const BlockHash = 8

// Blocks returns hashes of the blocks in a part of a section, BlockHash bytes each.
func (x *File) Blocks(r Range) (hashes []byte, err error) {
	err = withELF(x.r, func(e executable) error {
		s := e.section(r.Section)
		if s == nil || r.Block == 0 || r.Offset > s.FileSize || r.Size > s.FileSize-r.Offset || r.Size/r.Block > blocksLimit {
			return fmt.Errorf("section %s has no such part", r.Section)
		}
		buf := make([]byte, min(r.Block, r.Size))
		for at := uint64(0); at < r.Size; at += r.Block {
			b := buf[:min(r.Block, r.Size-at)]
			if _, err := s.ReadAt(b, int64(r.Offset+at)); err != nil {
				return err
			}
			hashes = append(hashes, HashBlock(b)...)
		}
		return nil
	})
	return slices.Clip(hashes), err
}

// HashBlock returns the hash of one block.
func HashBlock(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:BlockHash]
}

// ContentLimit is how much one call to [File.Content] returns at most, in bytes.
const ContentLimit = 1 << 20

// Content returns a part of a section as it is in the file.
func (x *File) Content(r Range) (content []byte, err error) {
	err = withELF(x.r, func(e executable) error {
		s := e.section(r.Section)
		if s == nil || r.Size > ContentLimit || r.Offset > s.FileSize || r.Size > s.FileSize-r.Offset {
			return fmt.Errorf("section %s has no such part", r.Section)
		}
		content = make([]byte, r.Size)
		_, err := s.ReadAt(content, int64(r.Offset))
		return err
	})
	return content, err
}
