package target

import (
	"bufio"
	"encoding/binary"
	"io"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

const (
	unitsLimit = 1 << 16 // compile units; kubelet has 2,000
	entryLimit = 8 << 10 // bytes of a unit that are looked at
)

// Optimisation counts the Go packages of a program by how they were compiled.
type Optimisation struct {
	Packages  int  // with debug information, the runtime's included
	Optimised int  // not compiled with both -N and -l
	Main      bool // the main package is one of the optimised
}

// ReadOptimisation reads how the packages of a process's executable were
// compiled. The build information doesn't tell: of several -gcflags patterns
// it keeps one. The error is diag.TargetStripped if there is no DWARF.
func ReadOptimisation(pid int) (Optimisation, error) {
	f, err := openExe(pid)
	if err != nil {
		return Optimisation{}, err
	}
	defer f.Close()
	return readOptimisation(f)
}

func readOptimisation(r io.ReaderAt) (o Optimisation, err error) {
	err = withELF(r, func(e executable) error {
		o, err = e.optimisation()
		return err
	})
	return o, err
}

func (e executable) optimisation() (Optimisation, error) {
	var o Optimisation
	info := e.debugInfo()
	if info == nil {
		return o, diag.Errorf(diag.TargetStripped, "the executable has no debug information")
	}
	units, err := openDebug(info)
	if err != nil {
		return o, err
	}
	abbrevs, err := e.abbrevs()
	if err != nil {
		return o, err
	}
	err = eachUnit(units, e.ByteOrder, func(u *unit) {
		cu := u.compileUnit(abbrevs)
		if cu.language != languageGo {
			return
		}
		o.Packages++
		if optimised(cu.producer) {
			o.Optimised++
			o.Main = o.Main || cu.name == "main"
		}
	})
	return o, err
}

// optimised reads a compile unit's DW_AT_producer, which the linker writes as
// "Go cmd/compile VERSION; FLAGS".
func optimised(producer string) bool {
	_, flags, _ := strings.Cut(producer, ";")
	list := strings.Fields(flags)
	return !slices.Contains(list, "-N") || !slices.Contains(list, "-l")
}

// eachUnit calls fn with the beginning of each unit of .debug_info. The unit
// is valid during the call.
func eachUnit(info io.Reader, order binary.ByteOrder, fn func(*unit)) error {
	r := bufio.NewReaderSize(info, entryLimit)
	for range unitsLimit {
		head, err := r.Peek(12)
		if len(head) == 0 && err == io.EOF {
			return nil
		}
		if len(head) < 12 {
			return diag.Errorf(diag.TargetStripped, "malformed debug information: %w", err)
		}
		u := newUnit(head, order)
		size := u.size()
		if u.data, err = r.Peek(int(min(size, entryLimit))); err != nil {
			return diag.Errorf(diag.TargetStripped, "malformed debug information: %w", err)
		}
		fn(u)
		if _, err := io.CopyN(io.Discard, r, int64(size)); err != nil {
			return diag.Errorf(diag.TargetStripped, "malformed debug information: %w", err)
		}
	}
	return diag.Errorf(diag.TargetStripped, "the debug information has too many units")
}
