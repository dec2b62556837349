package procfs

import (
	"testing"
	"testing/fstest"
)

// TestFrozenGroups checks a process of containerd's unit against the files that kernels
// show: with version 2 alone, with both versions, with version 1 alone.
func TestFrozenGroups(t *testing.T) {
	const (
		v2     = "0::/system.slice/containerd.service\n"
		hybrid = "5:freezer:/\n4:cpu,cpuacct:/system.slice/containerd.service\n1:name=systemd:/system.slice/containerd.service\n" + v2
		v1     = "7:freezer:/kube\n1:name=systemd:/system.slice/containerd.service\n"
		events = "system.slice/containerd.service/cgroup.events"
	)
	for _, tt := range []struct {
		name   string
		groups string
		file   string
		text   string
		want   bool
	}{
		{"v2 frozen", v2, events, "populated 1\nfrozen 1\n", true},
		{"v2 thawed", v2, events, "populated 1\nfrozen 0\n", false},
		{"v2 another's", v2, "system.slice/kubelet.service/cgroup.events", "populated 1\nfrozen 1\n", false},
		{"hybrid frozen", hybrid, "unified/" + events, "populated 1\nfrozen 1\n", true},
		{"hybrid thawed", hybrid, "unified/" + events, "populated 1\nfrozen 0\n", false},
		{"v1 frozen", v1, "freezer/kube/freezer.state", "FROZEN\n", true},
		{"v1 freezing", v1, "freezer/kube/freezer.state", "FREEZING\n", true},
		{"v1 thawed", v1, "freezer/kube/freezer.state", "THAWED\n", false},
		{"v1 of the root", "7:freezer:/\n", "freezer/freezer.state", "FROZEN\n", true},
		{"a line that is none", "freezer\n", "freezer/freezer.state", "FROZEN\n", false},
		{"nothing there", hybrid, "other", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := isFrozen([]byte(tt.groups), fstest.MapFS{tt.file: {Data: []byte(tt.text)}}); got != tt.want {
				t.Errorf("frozen: %v", got)
			}
		})
	}
}
