package goland

import (
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// TestDocument parses the document as GoLand does, with a name that must be escaped.
func TestDocument(t *testing.T) {
	r := Remote{Name: `dapbridge: "containerd" <&>`, Host: "127.0.0.1", Port: 2345}
	text, err := r.Document()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		XMLName       xml.Name `xml:"component"`
		Name          string   `xml:"name,attr"`
		Configuration struct {
			Name    string `xml:"name,attr"`
			Type    string `xml:"type,attr"`
			Factory string `xml:"factoryName,attr"`
			Host    string `xml:"host,attr"`
			Port    int    `xml:"port,attr"`
			Option  struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"option"`
		} `xml:"configuration"`
	}
	if err := xml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	c := got.Configuration
	if got.Name != "ProjectRunConfigurationManager" || c.Type != "GoRemoteDebugConfigurationType" || c.Factory != "Go Remote" ||
		c.Name != r.Name || c.Host != r.Host || c.Port != r.Port || c.Option.Name != "disconnectOption" || c.Option.Value != "LEAVE" {
		t.Errorf("got %+v\n%s", got, text)
	}
}

func TestDocumentRefuses(t *testing.T) {
	for _, r := range []Remote{{}, {Name: "x", Host: "h"}, {Name: "x", Port: 1}, {Host: "h", Port: 1}, {Name: "x", Host: "h", Port: 65536}} {
		if _, err := r.Document(); diag.CodeOf(err) != diag.Usage {
			t.Errorf("%+v: error %v, want a %s error", r, err, diag.Usage)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	r := Remote{Name: "dapbridge: containerd", Host: "127.0.0.1", Port: 2345}
	for i, want := range []bool{true, false, true} {
		if i == 2 {
			r.Port = 4000
		}
		path, changed, err := Write(dir, r)
		if err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
		if changed != want {
			t.Errorf("run %d: changed %v, want %v", i, changed, want)
		}
		if want := filepath.Join(dir, ".run", "dapbridge.run.xml"); path != want {
			t.Fatalf("run %d: path %s, want %s", i, path, want)
		}
		checkFile(t, path, r)
	}
	entries, err := os.ReadDir(filepath.Join(dir, ".run"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("the folder contains %v, want one file", entries)
	}
}

// checkFile checks that the file at path contains the document of r.
func checkFile(t *testing.T, path string, r Remote) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := r.Document()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s contains\n%s\nwant\n%s", path, got, want)
	}
}

// TestWriteRefusesLinks refuses links that lead out of the project.
func TestWriteRefusesLinks(t *testing.T) {
	testenv.SkipOn(t, "windows", "links need a privilege")
	r := Remote{Name: "x", Host: "127.0.0.1", Port: 2345}
	outside := t.TempDir()
	victim := filepath.Join(outside, "dapbridge.run.xml")
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, link := range map[string]func(dir string) error{
		"folder": func(dir string) error { return os.Symlink(outside, filepath.Join(dir, ".run")) },
		"file": func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, ".run"), 0o755), os.Symlink(victim, filepath.Join(dir, ".run", "dapbridge.run.xml")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := link(dir); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Write(dir, r); diag.CodeOf(err) != diag.WriteFailed {
				t.Errorf("error %v, want a %s error", err, diag.WriteFailed)
			}
			text, err := os.ReadFile(victim)
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != "mine" {
				t.Errorf("the file outside was changed to %s", text)
			}
		})
	}
	if _, _, err := Write(filepath.Join(outside, "missing"), r); diag.CodeOf(err) != diag.WriteFailed {
		t.Errorf("missing folder: error %v, want a %s error", err, diag.WriteFailed)
	}
}
