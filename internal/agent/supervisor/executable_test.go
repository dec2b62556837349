//go:build linux

package supervisor_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestExecutable compares the agent's answers about the target's executable with the
// file.
func TestExecutable(t *testing.T) {
	b := startBusy(t)
	s := startSupervisor(t, b, config{lease: 30 * time.Second})
	x, err := procfs.OpenExe(b.pid())
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	ctx := t.Context()

	want, err := x.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.client.Fingerprint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Equal(t, "sections", got.Sections, want.Sections)
	testenv.Equal(t, "entry", got.Entry, want.Entry)
	origin, err := s.client.Origin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"main package": origin.MainPackage, "Go version": origin.GoVersion, "GOROOT": origin.Roots.GOROOT} {
		if text == "" {
			t.Errorf("the origin has no %s", what)
		}
	}
	part := exe.Range{Section: ".text", Size: 4096, Block: 64}
	blocks, err := x.Blocks(part)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.client.Blocks(ctx, part); err != nil || !slices.Equal(got, blocks) {
		t.Errorf("blocks %x, %v; want %x", got, err, blocks)
	}
	if _, err := s.client.Blocks(ctx, exe.Range{Section: ".none", Size: 1, Block: 1}); err == nil {
		t.Error("blocks of a section that is not there")
	}
	content, err := x.Content(exe.Range{Section: ".text", Size: exe.ContentLimit / 4})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.client.Content(ctx, exe.Range{Section: ".text", Size: exe.ContentLimit / 4}); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of .text, %v; want %d equal ones", len(got), err, len(content))
	}
	shapes, err := x.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.client.Shapes(ctx); err != nil || !slices.Equal(got, shapes) {
		t.Errorf("%d bytes of shapes, %v; want %d", len(got), err, len(shapes))
	}
	fn, err := x.Function(5)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.client.Function(ctx, 5); err != nil || got != fn || fn.Name == "" {
		t.Errorf("function %+v, %v; want %+v", got, err, fn)
	}
	words, err := x.Words([]uint64{0, 8})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.client.Words(ctx, []uint64{0, 8}); err != nil || !slices.Equal(got, words) {
		t.Errorf("words %x, %v; want %x", got, err, words)
	}
	if _, err := s.client.Words(ctx, []uint64{1 << 60}); err == nil {
		t.Error("words far behind the code")
	}
	variables, err := x.Variables()
	if err != nil || len(variables) == 0 {
		t.Fatalf("%v, %v", variables, err)
	}
	texts, err := x.Strings([]uint64{variables[0].Addr, 1})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.client.Strings(ctx, []uint64{variables[0].Addr, 1}); err != nil || !slices.Equal(got, texts) || got[1].Valid {
		t.Errorf("strings %+v, %v; want %+v", got, err, texts)
	}
}
