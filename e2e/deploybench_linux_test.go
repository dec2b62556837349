package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

// wireRate is 100 Mbit/s, in bytes a second.
const wireRate = 100e6 / 8

// oneLineEdits are places for an additional line: all that is linked after it moves.
func oneLineEdits() []edit {
	return []edit{
		{"a leaf", createContainerFile, "\tconfig := r.GetConfig()\n"},
		{"in the middle", "pkg/oci/spec_opts.go", "\tif s.Process.Capabilities == nil {\n"},
		{"in front", "pkg/identifiers/validate.go", "\tif len(s) == 0 {\n"},
	}
}

// edit is a place in the user's source.
type edit struct{ name, file, before string }

// BenchmarkDeploy measures a one-line edit on its way to the node at 100 Mbit/s with a
// warm build cache: how much is uploaded, how long upload and restart take compared with
// scp, mv and systemctl restart of the same build, and the time from the edit to a
// verified breakpoint.
func BenchmarkDeploy(b *testing.B) {
	f := setup(b)
	proxy, args := f.proxy(b)
	proxy.Rate(wireRate)
	deploy := func() (d deployed, took time.Duration) {
		start := time.Now()
		d = f.deployOver(b, args)
		return d, time.Since(start)
	}
	first, _ := deploy() // the agent is there, and the caches are warm
	b.Logf("the first time: built in %v, %d bytes sent for %d in %v", first.Built.Took, first.Sent, first.Built.Size, first.Send)
	var ours, theirs, attached, built []time.Duration
	most := 0.0
	for b.Loop() {
		for i := range 2 { // a build each
			for _, e := range oneLineEdits() {
				undo := f.edit(b, e, fmt.Sprintf("println(\"edited\", %d)", i))
				start := time.Now()
				d, took := deploy()
				attached = append(attached, time.Since(start)+f.firstAttach(b, args))
				byHand := f.byHand(b, proxy, d.Built.Path)
				undo()
				share := float64(d.Sent) / float64(d.Built.Size)
				most = max(most, share)
				ours, theirs, built = append(ours, took-d.Built.Took), append(theirs, byHand), append(built, d.Built.Took)
				b.Logf("%s: %d bytes sent for %d (%.4f), built in %v, shipped and swapped in %v, by hand in %v, attached %v after the edit",
					e.name, d.Sent, d.Built.Size, share, d.Built.Took, took-d.Built.Took, byHand, attached[len(attached)-1])
			}
		}
	}
	f.restore(b)
	report(b, "ship and swap, against scp, mv and systemctl restart", ours, theirs)
	whole := quantile(attached, 0.5)
	b.Logf("from the edit to a verified breakpoint: median %v, of which go build %v", whole, quantile(built, 0.5))
	b.ReportMetric(most, "most-of-the-build-sent")
	b.ReportMetric(whole.Seconds(), "edit-to-attached-s")
	b.ReportMetric(quantile(built, 0.5).Seconds()/whole.Seconds(), "go-build-share")
}

// deployOver runs dapbridge deploy on the node that the flags select.
func (f *fixture) deployOver(b *testing.B, args []string) deployed {
	b.Helper()
	cmd := f.command(b.Context(), userUID, append([]string{"deploy", "-o", "json"}, args...)...)
	cmd.Env = append(cmd.Env, "GOFLAGS=-trimpath") // see deploying
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%v\n%s", err, &said)
	}
	var d deployed
	if err := json.Unmarshal(out, &d); err != nil {
		b.Fatal(err)
	}
	return d
}

// edit inserts a line into the user's source, and returns a function that removes it.
func (f *fixture) edit(b *testing.B, e edit, line string) (undo func()) {
	b.Helper()
	path := f.file(e.file)
	was, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	now := strings.Replace(string(was), e.before, "\t"+line+"\n"+e.before, 1)
	if now == string(was) {
		b.Fatalf("%s has no line %q", e.file, e.before)
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	write(now)
	return func() { write(string(was)) }
}

// firstAttach returns how long a new `dapbridge serve` and its first session take to a
// verified breakpoint.
func (f *fixture) firstAttach(b *testing.B, args []string) time.Duration {
	b.Helper()
	start := time.Now()
	s := f.serveNode(b, append(args, "--log-level", "error")...)
	defer s.stop(b)
	f.attachTime(b, s.addr, f.lineOf(b, createContainerFile, createContainerCode), nil, nil)
	return time.Since(start)
}

// byHand returns how long it takes to copy a build to the node and to restart containerd
// without dapbridge. systemd waits until containerd is ready.
func (f *fixture) byHand(b *testing.B, proxy *testbed.Proxy, build string) time.Duration {
	b.Helper()
	host, port, err := net.SplitHostPort(proxy.Addr())
	if err != nil {
		b.Fatal(err)
	}
	options := []string{"-i", f.node.KeyFile(), "-o", "UserKnownHostsFile=" + filepath.Join(f.home, ".ssh", "known_hosts"), "-o", "IdentitiesOnly=yes", "-o", "Port=" + port}
	start := time.Now()
	for _, argv := range [][]string{
		append(append([]string{"scp", "-q"}, options...), build, f.node.User()+"@"+host+":containerd"),
		append(append([]string{"ssh"}, options...), f.node.User()+"@"+host, "sudo mv containerd "+containerdPath+" && sudo systemctl restart containerd"),
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	return time.Since(start)
}
