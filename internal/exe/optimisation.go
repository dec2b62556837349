package exe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

const (
	unitsLimit = 1 << 15 // compile units; kubelet has 2,000
	entryLimit = 8 << 10 // bytes of a unit that are read
)

// Optimisation counts a program's Go packages by whether they were optimised.
type Optimisation struct {
	Packages  int  `json:"packages"`  // with debug information
	Optimised int  `json:"optimised"` // not compiled with both -N and -l; see isOptimised
	Main      bool `json:"main"`      // the main package is among the optimised ones
}

// Optimisation reads how the packages were compiled. The build information is not
// enough: of several -gcflags patterns it keeps one. The error's code is
// diag.TargetStripped if there is no DWARF.
func (x *File) Optimisation() (o Optimisation, err error) {
	err = withELF(x.r, func(e executable) error {
		o, err = e.readOptimisation()
		return err
	})
	return o, err
}

func (e executable) readOptimisation() (Optimisation, error) {
	info := e.debugInfo()
	if info == nil {
		return Optimisation{}, diag.Errorf(diag.TargetStripped, "the executable has no debug information")
	}
	abbrevs, err := e.readAbbrevs()
	if err != nil {
		return Optimisation{}, malformedDebug(err)
	}
	packages := map[string]bool{} // a package with assembly has several units
	err = eachUnit(openDebug(info), e.ByteOrder, func(u *unit) {
		if cu := u.compileUnit(abbrevs); cu.language == languageGo {
			packages[cu.name] = packages[cu.name] || cu.isOptimised()
		}
	})
	if err != nil {
		return Optimisation{}, malformedDebug(err)
	}
	o := Optimisation{Packages: len(packages), Main: packages["main"]}
	for _, optimised := range packages {
		if optimised {
			o.Optimised++
		}
	}
	return o, nil
}

func malformedDebug(err error) error {
	return diag.Errorf(diag.TargetStripped, "malformed debug information: %w", err)
}

// isOptimised evaluates DW_AT_producer, which Go's linker writes as "Go cmd/compile
// VERSION; FLAGS". The compiler ignores -N for the runtime and the packages it
// imports, so for these only -l counts: with all=-N -l nothing counts as optimised.
func (cu compileUnit) isOptimised() bool {
	_, text, _ := strings.Cut(cu.producer, ";")
	flags := strings.Fields(text)
	inRuntime := cu.name == "runtime" || strings.HasPrefix(cu.name, "runtime/") || strings.HasPrefix(cu.name, "internal/")
	return !slices.Contains(flags, "-l") || !slices.Contains(flags, "-N") && !inRuntime
}

// eachUnit calls fn with the beginning of each unit in .debug_info. The unit is valid
// during the call.
func eachUnit(info io.Reader, order binary.ByteOrder, fn func(*unit)) error {
	r := bufio.NewReaderSize(info, entryLimit)
	for range unitsLimit {
		head, err := r.Peek(12)
		if err == io.EOF { // the rest, shorter than any unit, is padding
			return nil
		}
		if err != nil {
			return err
		}
		u := newUnit(head, order)
		size := u.size()
		if u.data, err = r.Peek(int(min(size, entryLimit))); err != nil {
			return err
		}
		fn(u)
		if _, err := io.CopyN(io.Discard, r, int64(size)); err != nil {
			return err
		}
	}
	return errors.New("too many units")
}
