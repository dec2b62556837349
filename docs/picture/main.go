// Command picture runs a command and draws what it printed as an SVG of a
// terminal, in which each line appears when the command printed it. It draws
// the picture in README.md: see the target picture in the Makefile.
package main

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Of the picture: the terminal's width in characters, and the size of its cells
// and its margin in pixels.
const (
	columns    = 112
	cellWidth  = 8.43 // of most monospaced fonts at 14 px
	lineHeight = 20
	margin     = 20
)

// line is one that the command printed, and when, counted from its start.
type line struct {
	text string
	at   time.Duration
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: picture FILE.svg COMMAND [ARG...]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

// run writes the picture only if the command succeeds.
func run(file string, command []string) error {
	lines, err := record(exec.Command(command[0], command[1:]...))
	if err != nil {
		return err
	}
	prompt := "$ " + strings.Join(append([]string{filepath.Base(command[0])}, command[1:]...), " ")
	return os.WriteFile(file, draw(prompt, lines), 0o644)
}

// record runs cmd and returns the lines of its output and errors, as a terminal
// would show them.
func record(cmd *exec.Cmd) ([]line, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var lines []line
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		lines = append(lines, line{scanner.Text(), time.Since(start)})
	}
	if err := scanner.Err(); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, fmt.Errorf("read what %s prints: %w", cmd, err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("run %s: %w", cmd, err)
	}
	return lines, nil
}

// style hides a line until its time. What shows an SVG without animation, or
// for somebody who wants none, shows all lines at once.
const style = `<style>
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d8dee9; white-space: pre }
.prompt { fill: #8fce8b; font-weight: bold }
@keyframes appear { from { opacity: 0 } }
@media (prefers-reduced-motion: no-preference) { text { animation: appear 1ms backwards } }
</style>
`

func draw(prompt string, lines []line) []byte {
	var body bytes.Buffer
	row := 0
	text := func(class, s string, at time.Duration) {
		row++
		fmt.Fprintf(&body, `<text%s x="%d" y="%d" xml:space="preserve" style="animation-delay: %dms">`, class, margin, margin+row*lineHeight-5, at.Milliseconds())
		xml.EscapeText(&body, []byte(s))
		body.WriteString("</text>\n")
	}
	text(` class="prompt"`, prompt, 0)
	for _, l := range lines {
		for _, s := range wrap(l.text) {
			text("", s, l.at)
		}
	}
	width, height := columns*cellWidth+2*margin, row*lineHeight+2*margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" role="img">`+"\n", width, height)
	b.WriteString("<!-- Drawn by make picture. -->\n" + style)
	fmt.Fprintf(&b, `<rect width="%.0f" height="%d" rx="8" fill="#1d2330"/>`+"\n", width, height)
	b.Write(body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// wrap breaks a line where a terminal does.
func wrap(s string) []string {
	runes := []rune(s)
	var rows []string
	for len(runes) > columns {
		rows = append(rows, string(runes[:columns]))
		runes = runes[columns:]
	}
	return append(rows, string(runes))
}
