//go:build linux

package parts

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
)

// The images of a node. Both contain the program in pause/.
const (
	PauseImage = "testnode.local/pause:1" // of a pod's sandbox
	PodImage   = "testnode.local/pod:1"   // of a pod's container
)

//go:embed pause/main.go
var pauseSource string

// Images returns an OCI archive of the node's images, for "ctr images import".
func (c *Cache) Images(ctx context.Context) (string, error) {
	version, err := goVersion(ctx)
	if err != nil {
		return "", err
	}
	dir, err := c.get(ctx, part{
		name: "images", version: "1", recipe: []string{"2", version, pauseSource},
		duration: "a few seconds",
		build:    buildImages,
	})
	return filepath.Join(dir, "images.tar"), err
}

func buildImages(ctx context.Context, w workspace) error {
	module := filepath.Join(w.tmp, "module")
	if err := writeFiles(module, map[string]string{"go.mod": "module pause\n", "main.go": pauseSource}); err != nil {
		return err
	}
	program := filepath.Join(module, "pause")
	if err := w.run(ctx, command{
		dir: module, env: goBuildEnv("CGO_ENABLED=0"),
		argv: []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "."},
	}); err != nil {
		return err
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	archive, err := ociArchive(binary, PauseImage, PodImage)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.out, "images.tar"), archive, 0o644)
}

// These types are the subset of the OCI image specification that an image of one file
// needs.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		Entrypoint []string
		WorkingDir string
		Labels     map[string]string
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// ociArchive returns an OCI layout as a tar, with an image of the program for each name.
func ociArchive(program []byte, names ...string) ([]byte, error) {
	layer, err := makeTar(tarEntry{"pause", 0o755, program})
	if err != nil {
		return nil, err
	}
	blobs := map[string][]byte{}
	add := func(mediaType string, blob []byte) descriptor {
		sum := sha256.Sum256(blob)
		digest := hex.EncodeToString(sum[:])
		blobs["blobs/sha256/"+digest] = blob
		return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(blob)}
	}
	layerDesc := add("application/vnd.oci.image.layer.v1.tar", layer)

	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	index := manifest{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json"}
	for _, name := range names {
		config := imageConfig{Architecture: runtime.GOARCH, OS: "linux"}
		config.Config.Entrypoint, config.Config.WorkingDir = []string{"/pause"}, "/"
		config.Config.Labels = map[string]string{"name": name} // makes the images differ
		config.RootFS.Type, config.RootFS.DiffIDs = "layers", []string{layerDesc.Digest}
		configDesc := add("application/vnd.oci.image.config.v1+json", marshal(config))
		image := add(manifestType, marshal(manifest{
			SchemaVersion: 2, MediaType: manifestType,
			Config: &configDesc, Layers: []descriptor{layerDesc},
		}))
		image.Annotations = map[string]string{"io.containerd.image.name": name}
		index.Manifests = append(index.Manifests, image)
	}

	entries := []tarEntry{
		{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", 0o644, marshal(index)},
	}
	for name, blob := range blobs {
		entries = append(entries, tarEntry{name, 0o644, blob})
	}
	return makeTar(entries...)
}

type tarEntry struct {
	name string
	mode int64
	data []byte
}

func makeTar(entries ...tarEntry) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// marshal panics if it fails, which it cannot for the structs in this file.
func marshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}
