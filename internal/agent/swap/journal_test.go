//go:build linux

package swap

import (
	"slices"
	"testing"
)

// TestJournalArrivesLate has journald read a process's last words after systemd has
// noticed that it has exited.
func TestJournalArrivesLate(t *testing.T) {
	dir := t.TempDir()
	m := &manager{t, dir}
	m.write("systemctl", "#!/bin/sh\necho f00\n")
	m.write("journalctl", `#!/bin/sh
case $* in --sync) exit 0 ;; esac
cd `+dir+`
echo read >>reads
echo Starting x.service...
[ $(wc -l <reads) -lt 2 ] || echo I crash
echo x.service: Main process exited
`)
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	want := []string{"Starting x.service...", "I crash", "x.service: Main process exited"}
	if got := (systemd{}).readJournal(t.Context(), "x.service"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
