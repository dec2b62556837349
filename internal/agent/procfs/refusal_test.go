package procfs

import (
	"strings"
	"testing"
	"testing/fstest"
)

// TestObstacles reads vectors of the kernel's files, in the formats that
// fs/proc/array.c, security/yama and security/lockdown write.
func TestObstacles(t *testing.T) {
	const (
		all  = "CapEff:\t000001ffffffffff\n"
		less = "CapEff:\t000001fffff7ffff\n" // all but CAP_SYS_PTRACE
	)
	for name, tt := range map[string]struct {
		status, yama, lockdown string
		want                   []string // words of each obstacle
		remedy                 string   // of the first
	}{
		"nothing":               {status: all + "Seccomp:\t0\n", yama: "0\n", lockdown: "[none] integrity confidentiality\n"},
		"no files":              {},
		"no capability":         {status: less, yama: "0\n", want: []string{"CAP_SYS_PTRACE"}, remedy: "--cap-add SYS_PTRACE"},
		"yama 1, capable":       {status: all, yama: "1\n"},
		"yama 1, not capable":   {status: less, yama: "1\n", want: []string{"CAP_SYS_PTRACE", "ptrace_scope is 1"}, remedy: "--cap-add"},
		"yama 2, capable":       {status: all, yama: "2\n"},
		"yama 3":                {status: all, yama: "3\n", want: []string{"ptrace_scope is 3"}, remedy: "and reboot"},
		"yama, odd":             {status: all, yama: "yes\n"},
		"seccomp":               {status: all + "Seccomp:\t2\nSeccomp_filters:\t1\n", want: []string{"seccomp"}, remedy: "SystemCallFilter="},
		"integrity":             {status: all, lockdown: "none [integrity] confidentiality\n", want: []string{"locked down (integrity)"}, remedy: "lockdown=integrity"},
		"confidentiality, yama": {status: all, yama: "3", lockdown: "none integrity [confidentiality]\n", want: []string{"ptrace_scope is 3", "(confidentiality)"}, remedy: "and reboot"},
		"lockdown, cut":         {status: all, lockdown: "none [integ"},
	} {
		root := fstest.MapFS{}
		for path, text := range map[string]string{
			"proc/self/status": tt.status, "proc/sys/kernel/yama/ptrace_scope": tt.yama, "sys/kernel/security/lockdown": tt.lockdown,
		} {
			if text != "" {
				root[path] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		got := findObstacles(root)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(got[i].what, want) {
				t.Errorf("%s: %q, want …%s…", name, got[i].what, want)
			}
		}
		if len(got) > 0 && !strings.Contains(got[0].remedy, tt.remedy) {
			t.Errorf("%s: remedy %q, want …%s…", name, got[0].remedy, tt.remedy)
		}
	}
}
