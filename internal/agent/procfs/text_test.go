package procfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// textOf returns a text whose memory is a file.
func textOf(t *testing.T, trap, file, mem []byte) *text {
	t.Helper()
	dir := t.TempDir()
	open := func(name string, data []byte) *os.File {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	return &text{
		file: exe.NewFile(open("file", file)), mem: open("mem", mem),
		segments: []exe.TextSegment{{Addr: 0, Off: 0, Size: int64(len(file))}}, trap: trap,
	}
}

func TestRestoreFindsTraps(t *testing.T) {
	const at = chunkSize - 4 // the last instruction of a chunk
	for arch, trap := range map[string]string{"amd64": "\xCC", "arm64": "\x00\x00\x20\xD4"} {
		file := bytes.Repeat([]byte{0x00, 0x91, 0x20, 0xAA}, chunkSize/2)
		mem := bytes.Clone(file)
		for _, off := range []int{0, 8, at, at + 4, len(mem) - 4} {
			copy(mem[off:], trap)
		}
		mem[21] ^= 0xFF // not a trap
		text := textOf(t, []byte(trap), file, mem)
		n, err := text.restore()
		if n != 5 || err != nil {
			t.Errorf("%v: %d, %v", arch, n, err)
		}
		after, err := os.ReadFile(text.mem.Name())
		file[21] ^= 0xFF
		if err != nil || !bytes.Equal(after, file) {
			t.Errorf("%v: not restored, %v", arch, err)
		}
	}
}

// A trap that the program itself contains is kept.
func TestRestoreKeepsOwnTraps(t *testing.T) {
	file := []byte{0x90, 0xCC, 0xCC, 0x90}
	if n, err := textOf(t, []byte{0xCC}, file, file).restore(); n != 0 || err != nil {
		t.Error(n, err)
	}
}
