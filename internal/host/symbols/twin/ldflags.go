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

// With -trimpath, Go does not record the linker flags, so the values that -X set are
// unknown. But the target contains them: a twin linked without them has the same code
// except for addresses. Where the twin's code loads a variable, the target's code at
// the same offset yields the variable's address in the target, and so its value.

// recoverLinkFlags returns the -X flags that the target was linked with, "" if none
// can be found.
func recoverLinkFlags(ctx context.Context, twin string, o Original) (string, error) {
	x, err := exe.Open(twin)
	if err != nil {
		return "", err
	}
	defer x.Close()
	uses, err := findUses(x)
	if err != nil || len(uses) == 0 {
		return "", err
	}
	addrs, err := locateVariables(ctx, uses, o)
	if err != nil || len(addrs) == 0 {
		return "", err
	}
	return diffStrings(ctx, x, o, addrs)
}

// use is a place in the code that loads the first or second word of a string
// variable.
type use struct {
	variable exe.Variable
	offset   uint64 // of the four-byte displacement in .text
	within   uint64 // offset in the variable, 0 or 8
	end      uint64 // address after the displacement, which it is relative to
}

// maxFlagsSize bounds the recovered flags, in bytes, since they become a single
// command-line argument.
const maxFlagsSize = 32 << 10

// maxUsesPerVariable is more than is needed, since some bytes look like a use by chance.
const (
	maxUsesPerVariable = 8
	maxUses            = 32 << 10
)

// findUses finds where the code loads variables that -X may have set, which excludes
// those of the standard library. On amd64 an address is encoded as the distance from
// the next instruction, in the four bytes that most instructions end with.
func findUses(x *exe.File) ([]use, error) {
	variables, err := x.Variables()
	if err != nil {
		return nil, err
	}
	byAddr := map[uint64]exe.Variable{}
	low, high := ^uint64(0), uint64(0)
	for _, v := range variables {
		if isStandard(v.Name) || !strings.Contains(v.Name, ".") {
			continue
		}
		byAddr[v.Addr] = v
		low, high = min(low, v.Addr), max(high, v.Addr+8)
	}
	addr, code, err := x.Code()
	if err != nil {
		return nil, err
	}
	var uses []use
	count := map[string]int{}
	for i := 0; i+4 <= len(code) && len(uses) < maxUses; i++ {
		end := addr + uint64(i) + 4
		to := end + uint64(int64(int32(binary.LittleEndian.Uint32(code[i:]))))
		if to < low || to > high {
			continue
		}
		for _, within := range []uint64{0, 8} {
			if v, ok := byAddr[to-within]; ok && count[v.Name] < maxUsesPerVariable {
				count[v.Name]++
				uses = append(uses, use{v, uint64(i), within, end})
			}
		}
	}
	return uses, nil
}

// locateVariables returns the addresses of the variables in the target: for each,
// the one that most of its uses agree on.
func locateVariables(ctx context.Context, uses []use, o Original) (map[exe.Variable]uint64, error) {
	offsets := make([]uint64, len(uses))
	for i, u := range uses {
		offsets[i] = u.offset
	}
	words, err := o.Words(ctx, offsets)
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
	winners := map[exe.Variable]uint64{}
	for v, addrs := range votes {
		most := 0
		for addr, n := range addrs {
			if n > most {
				winners[v], most = addr, n
			}
		}
	}
	return winners, nil
}

// diffStrings returns -X flags for the variables whose strings differ between the
// twin and the target, which has them at addrs.
func diffStrings(ctx context.Context, x *exe.File, o Original, addrs map[exe.Variable]uint64) (string, error) {
	var variables []exe.Variable
	for v := range addrs {
		variables = append(variables, v)
	}
	slices.SortFunc(variables, func(a, b exe.Variable) int { return strings.Compare(a.Name, b.Name) })
	var flags []string
	const part = 4096
	for ; len(variables) > 0; variables = variables[min(len(variables), part):] {
		var ours, theirs []uint64
		batch := variables[:min(len(variables), part)]
		for _, v := range batch {
			ours, theirs = append(ours, v.Addr), append(theirs, addrs[v])
		}
		have, err := x.Strings(ours)
		if err != nil {
			return "", err
		}
		want, err := o.Strings(ctx, theirs)
		if err != nil || len(want) != len(batch) {
			return "", err
		}
		for i, v := range batch {
			if have[i].Valid && want[i].Valid && have[i] != want[i] {
				flags = append(flags, formatSetFlag(v.Name, want[i].Value))
			}
		}
	}
	text := strings.Join(slices.DeleteFunc(flags, func(f string) bool { return f == "" }), " ")
	if len(text) > maxFlagsSize || recipe.CheckLinkFlags(text) != nil {
		return "", nil // the node's answers are not trusted
	}
	return text, nil
}

// formatSetFlag returns -X for one variable, "" if its value cannot be quoted.
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
