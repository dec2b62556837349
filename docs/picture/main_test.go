package main

import (
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain is the command that TestRecord runs, if it is told so.
func TestMain(m *testing.M) {
	if os.Getenv("PICTURE_TEST_PRINT") != "" {
		os.Stdout.WriteString("to stdout\n")
		os.Stderr.WriteString("to stderr\n")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestRecord(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PICTURE_TEST_PRINT=1")
	lines, err := record(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 2 || lines[0].text != "to stdout" || lines[1].text != "to stderr" {
		t.Errorf("recorded %v", lines)
	}
}

func TestRecordFails(t *testing.T) {
	if lines, err := record(exec.Command(os.Args[0], "-no-such-flag")); err == nil {
		t.Errorf("a command that fails: no error, recorded %v", lines)
	}
}

func TestDraw(t *testing.T) {
	long := strings.Repeat("é", columns) + "x"
	svg := string(draw("$ a <b>", []line{{"", 0}, {long, 1500 * time.Millisecond}}))
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
	for _, want := range []string{
		`y="35" xml:space="preserve" style="animation-delay: 0ms">$ a &lt;b&gt;</text>`,
		`y="75" xml:space="preserve" style="animation-delay: 1500ms">` + strings.Repeat("é", columns) + `</text>`,
		`y="95" xml:space="preserve" style="animation-delay: 1500ms">x</text>`,
		`height="120"`,
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
}
