//go:build linux

package parts

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestPartIsBuiltOnceAndCompleteOrAbsent(t *testing.T) {
	c := &Cache{Dir: t.TempDir(), Logf: t.Logf}
	var built atomic.Int32
	p := part{name: "thing", version: "v1", recipe: []string{"a"}, build: func(_ context.Context, w workspace) error {
		built.Add(1)
		return os.WriteFile(filepath.Join(w.out, "file"), nil, 0o600)
	}}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			dir, err := c.get(t.Context(), p)
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := built.Load(); n != 1 {
		t.Errorf("built %d times, want once", n)
	}

	p.recipe = []string{"b"} // makes it another part
	p.build = func(context.Context, workspace) error { return errors.New("no luck") }
	if _, err := c.get(t.Context(), p); err == nil || !strings.Contains(err.Error(), "thing v1: no luck") {
		t.Errorf("a failed build: %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(c.Dir, ".making-*"))
	if len(left) > 0 {
		t.Errorf("workspaces left behind: %v", left)
	}
}

func TestStaleWorkspaceIsRemoved(t *testing.T) {
	c := &Cache{Dir: t.TempDir(), Logf: t.Logf}
	stale := filepath.Join(c.Dir, ".making-thing-123")
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	p := part{name: "thing", version: "v1", build: func(context.Context, workspace) error { return nil }}
	if _, err := c.get(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if isDir(stale) {
		t.Error("the workspace left by a crash was not removed")
	}
}

func TestUnknownFlavourIsRefused(t *testing.T) {
	c := &Cache{Dir: t.TempDir(), Logf: t.Logf}
	if _, err := c.Containerd(t.Context(), "vanilla"); err == nil || !strings.Contains(err.Error(), "make") {
		t.Errorf("got %v, want an error that lists the flavours", err)
	}
}

func TestOCIArchiveIsComplete(t *testing.T) {
	archive, err := ociArchive([]byte("program"), PauseImage, PodImage)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var index manifest
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	blob := func(d descriptor) []byte {
		data, ok := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		if !ok {
			t.Errorf("%s is missing", d.Digest)
		}
		if len(data) != d.Size {
			t.Errorf("%s has %d bytes, want %d", d.Digest, len(data), d.Size)
		}
		return data
	}
	var names []string
	for _, d := range index.Manifests {
		names = append(names, d.Annotations["io.containerd.image.name"])
		var image manifest
		if err := json.Unmarshal(blob(d), &image); err != nil {
			t.Fatal(err)
		}
		blob(*image.Config)
		blob(image.Layers[0])
	}
	if want := []string{PauseImage, PodImage}; !slices.Equal(names, want) {
		t.Errorf("images %q, want %q", names, want)
	}
	if index.Manifests[0].Digest == index.Manifests[1].Digest {
		t.Error("both names refer to one image: containerd would report the first name for all containers")
	}
}

func TestRunLeavesNothingOfACancelledCommand(t *testing.T) {
	testenv.NeedsRoot(t, "it makes namespaces")
	mark := filepath.Join(t.TempDir(), "started")
	nap := fmt.Sprintf("300.%d", os.Getpid()) // identifies this test's sleep
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		script := "setsid sleep " + nap + " & touch " + mark + "; wait"
		done <- workspace{tmp: os.TempDir()}.run(ctx, command{argv: []string{"sh", "-c", script}})
	}()
	for !exists(mark) {
		select {
		case err := <-done:
			t.Fatalf("the command has ended: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if raw, _ := os.ReadFile(path); strings.Contains(string(raw), "sleep\x00"+nap) {
			t.Errorf("%s is still running", filepath.Dir(path))
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
