package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// Each script has the shell do what it does when a user presses Tab at the end of $line.
// The arguments are the line's words, as this shell splits them.
const (
	inBash = `. /usr/share/bash-completion/bash_completion && . $script || exit
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMP_KEY=9
__start_dapbridge
printf '%s\n' "${COMPREPLY[@]}"`
	inZsh = `autoload -U compinit && compinit -D && . $script || exit
_describe() { print -rl -- ${(M)completions:#${words[-1]//:/\\:}*} } # zsh offers only matching ones
words=("$@") CURRENT=$# _dapbridge`
	inFish = `source $script; complete -C $line`
)

// TestCompletion checks the completion script of each shell in that shell.
func TestCompletion(t *testing.T) {
	home := t.TempDir()
	for _, profile := range []string{"dev", "minikube"} {
		dir := filepath.Join(home, ".minikube", "profiles", profile)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"Driver":"docker","Nodes":[{"IP":"192.168.49.2"}]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scripts := t.TempDir()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		status, out, err := invoke(t, "completion", shell)
		if status != 0 {
			t.Fatalf("%s: exit status %d: %s", shell, status, err)
		}
		if err := os.WriteFile(filepath.Join(scripts, shell), []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := programDir(t) + string(filepath.ListSeparator) + os.Getenv("PATH")
	for _, tt := range []struct {
		words  []string // the last one is completed
		want   []string
		unwant string
	}{
		{[]string{"ser"}, []string{"serve"}, "ps"},
		{[]string{""}, []string{"config", "init", "trust", "version"}, "agent"},
		{[]string{"serve", "--all"}, []string{"--allow-non-local"}, "--local-nodes"},
		{[]string{"serve", "--node", "mini"}, []string{"minikube:dev", "minikube:minikube"}, "ssh://"},
		{[]string{"serve", "--node", "minikube:d"}, []string{"minikube:dev"}, "minikube:minikube"},
		{[]string{"ps", "--target", "k"}, []string{"kubelet"}, "containerd"},
		{[]string{"ps", "-o", ""}, []string{"json", "text"}, "auto"},
		{[]string{"serve", "--symbols", "a"}, []string{"ask", "auto"}, "never"},
	} {
		line := "dapbridge " + strings.Join(tt.words, " ")
		for shell, argv := range map[string][]string{
			"bash": append([]string{"--norc", "--noprofile", "-c", inBash, "bash", "dapbridge"}, splitAtColons(tt.words)...),
			"zsh":  append([]string{"-f", "-c", inZsh, "zsh", "dapbridge"}, tt.words...),
			"fish": {"--no-config", "-c", inFish},
		} {
			t.Run(shell+"/"+line, func(t *testing.T) {
				testenv.NeedsTool(t, shell)
				cmd := exec.Command(shell, argv...)
				cmd.Env = []string{"HOME=" + home, "PATH=" + path, "line=" + line, "script=" + filepath.Join(scripts, shell)}
				var stderr strings.Builder
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v\n%s%s", err, out, stderr.String())
				}
				got := parseOffers(shell, string(out), tt.words[len(tt.words)-1])
				for _, want := range tt.want {
					if !slices.Contains(got, want) {
						t.Errorf("%s is not offered: %q\n%s", want, got, stderr.String())
					}
				}
				if slices.Contains(got, tt.unwant) {
					t.Errorf("%s is offered: %q", tt.unwant, got)
				}
			})
		}
	}
}

// splitAtColons splits words like bash with its COMP_WORDBREAKS.
func splitAtColons(words []string) []string {
	var split []string
	for _, w := range words {
		before, after, ok := strings.Cut(w, ":")
		if split = append(split, before); ok {
			split = append(split, ":", after)
		}
	}
	return split
}

// parseOffers returns the completions of word in a shell's output, without descriptions.
// bash leaves out the part up to the last colon.
func parseOffers(shell, out, word string) []string {
	var got []string
	for line := range strings.Lines(out) {
		value, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(line), "\t", " "), " ")
		if shell == "zsh" { // VALUE:DESCRIPTION
			value, _, _ = strings.Cut(strings.ReplaceAll(value, `\:`, "\x00"), ":")
			value = strings.ReplaceAll(value, "\x00", ":")
		}
		if shell == "bash" {
			value = word[:strings.LastIndexByte(word, ':')+1] + value
		}
		got = append(got, value)
	}
	return got
}
