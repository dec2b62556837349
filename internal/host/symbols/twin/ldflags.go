package twin

import (
	"context"
	"encoding/binary"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// With -trimpath Go does not record the linker's flags, and so not what -X
// sets. The target itself holds these strings: a twin that was linked without
// them has the same code but for the addresses in it, so where the twin's code
// loads a variable, the target's shows where the target has it, and what it
// says.

// found returns the -X flags that the target was linked with, "" if none show.
func recoverLinkFlags(ctx context.Context, twin string, s Original) (string, error) {
	x, err := exe.Open(twin)
	if err != nil {
		return "", err
	}
	defer x.Close()
	uses, err := findUses(x)
	if err != nil || len(uses) == 0 {
		return "", err
	}
	there, err := locateVariables(ctx, uses, s)
	if err != nil || len(there) == 0 {
		return "", err
	}
	return diffStrings(ctx, x, s, there)
}

// use is a place in the code that loads a variable, or its second word.
type use struct {
	variable exe.Variable
	offset   uint64 // into .text, of the four bytes
	within   uint64 // 0 or 8 into the variable
	end      uint64 // address behind the four bytes, which they count from
}

// flagsLimit bounds the flags that are found, in bytes: they become one
// argument of a command.
const flagsLimit = 32 << 10

// usesPerVariable is more than what is needed: a few places agree by chance.
const (
	usesPerVariable = 8
	usesLimit       = 32 << 10
)

// usesOf finds where the code loads the variables that may have been set: not
// those of the standard library. On amd64 an address is the distance from the
// next instruction, in four bytes that most instructions end with.
func findUses(x *exe.File) ([]use, error) {
	variables, err := x.Variables()
	if err != nil {
		return nil, err
	}
	at := map[uint64]exe.Variable{}
	low, high := ^uint64(0), uint64(0)
	for _, v := range variables {
		if isStandard(v.Name) || !strings.Contains(v.Name, ".") {
			continue
		}
		at[v.Addr] = v
		low, high = min(low, v.Addr), max(high, v.Addr+8)
	}
	addr, code, err := x.Code()
	if err != nil {
		return nil, err
	}
	var uses []use
	count := map[string]int{}
	for i := 0; i+4 <= len(code) && len(uses) < usesLimit; i++ {
		end := addr + uint64(i) + 4
		to := end + uint64(int64(int32(binary.LittleEndian.Uint32(code[i:]))))
		if to < low || to > high {
			continue
		}
		for _, within := range []uint64{0, 8} {
			if v, ok := at[to-within]; ok && count[v.Name] < usesPerVariable {
				count[v.Name]++
				uses = append(uses, use{v, uint64(i), within, end})
			}
		}
	}
	return uses, nil
}

// located returns where the target has the variables: where most of their uses
// say so.
func locateVariables(ctx context.Context, uses []use, s Original) (map[exe.Variable]uint64, error) {
	offsets := make([]uint64, len(uses))
	for i, u := range uses {
		offsets[i] = u.offset
	}
	words, err := s.Words(ctx, offsets)
	if err != nil || len(words) != len(uses) {
		return nil, err
	}
	votes := map[exe.Variable]map[uint64]int{}
	for i, u := range uses {
		if votes[u.variable] == nil {
			votes[u.variable] = map[uint64]int{}
		}
		votes[u.variable][u.end+uint64(int64(int32(words[i])))-u.within]++
	}
	there := map[exe.Variable]uint64{}
	for v, places := range votes {
		most := 0
		for addr, n := range places {
			if n > most {
				there[v], most = addr, n
			}
		}
	}
	return there, nil
}

// differingStrings makes flags of the variables whose strings differ.
func diffStrings(ctx context.Context, x *exe.File, s Original, there map[exe.Variable]uint64) (string, error) {
	var variables []exe.Variable
	for v := range there {
		variables = append(variables, v)
	}
	slices.SortFunc(variables, func(a, b exe.Variable) int { return strings.Compare(a.Name, b.Name) })
	var flags []string
	const part = 4096
	for ; len(variables) > 0; variables = variables[min(len(variables), part):] {
		var ours, theirs []uint64
		some := variables[:min(len(variables), part)]
		for _, v := range some {
			ours, theirs = append(ours, v.Addr), append(theirs, there[v])
		}
		have, err := x.Strings(ours)
		if err != nil {
			return "", err
		}
		want, err := s.Strings(ctx, theirs)
		if err != nil || len(want) != len(some) {
			return "", err
		}
		for i, v := range some {
			if have[i].Valid && want[i].Valid && have[i] != want[i] {
				flags = append(flags, formatSetFlag(v.Name, want[i].Value))
			}
		}
	}
	text := strings.Join(slices.DeleteFunc(flags, func(f string) bool { return f == "" }), " ")
	if len(text) > flagsLimit || recipe.CheckLinkFlags(text) != nil {
		return "", nil // what the node says is not to be trusted
	}
	return text, nil
}

// setFlag is -X for one variable, "" if its value can't be said to the linker.
func formatSetFlag(symbol, value string) string {
	name, err := url.PathUnescape(symbol) // cmd/internal/objabi, PathToPrefix
	if err != nil || strings.ContainsFunc(value, unicode.IsControl) {
		return ""
	}
	word := name + "=" + value
	switch {
	case !strings.ContainsAny(word, " '\""):
	case !strings.Contains(word, "'"):
		word = "'" + word + "'"
	case !strings.Contains(word, `"`):
		word = `"` + word + `"`
	default:
		return ""
	}
	return "-X " + word
}
