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

// TestDocument reads the file as GoLand's users' own files are, with a name that
// must be escaped.
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
		if _, err := r.Document(); !errors.Is(err, &diag.Error{Code: diag.Usage}) {
			t.Errorf("%+v: %v", r, err)
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
		if err != nil || changed != want || path != filepath.Join(dir, ".run", "dapbridge.run.xml") {
			t.Fatalf("run %d: %s, %v, %v", i, path, changed, err)
		}
		text, err := os.ReadFile(path)
		if want, _ := r.Document(); err != nil || string(text) != string(want) {
			t.Errorf("run %d wrote %s, %v", i, text, err)
		}
	}
	if names, err := os.ReadDir(filepath.Join(dir, ".run")); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// TestWriteStaysInTheProject has links lead out of it.
func TestWriteStaysInTheProject(t *testing.T) {
	testenv.SkipOn(t, "windows", "links need a privilege")
	r := Remote{Name: "x", Host: "127.0.0.1", Port: 2345}
	elsewhere := t.TempDir()
	victim := filepath.Join(elsewhere, "dapbridge.run.xml")
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, link := range map[string]func(dir string) error{
		"folder": func(dir string) error { return os.Symlink(elsewhere, filepath.Join(dir, ".run")) },
		"file": func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, ".run"), 0o755), os.Symlink(victim, filepath.Join(dir, ".run", "dapbridge.run.xml")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := link(dir); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Write(dir, r); !errors.Is(err, &diag.Error{Code: diag.WriteFailed}) {
				t.Errorf("got %v", err)
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != "mine" {
				t.Errorf("the file elsewhere: %s, %v", text, err)
			}
		})
	}
	if _, _, err := Write(filepath.Join(elsewhere, "no such folder"), r); !errors.Is(err, &diag.Error{Code: diag.WriteFailed}) {
		t.Errorf("got %v", err)
	}
}
