package api

// MethodMachine describes the node, for the doctor.
const MethodMachine = "machine" // -> Machine

// Machine describes the machine that the agent runs on.
type Machine struct {
	System
	Dir       string `json:"dir"`              // of the agent and its files
	Free      int64  `json:"free"`             // bytes that root can still write there
	Rsync     string `json:"rsync,omitempty"`  // path of the program, "" if not installed
	NoTracing string `json:"noTracing"`        // why tracing a child failed, "" if it worked
	Frozen    bool   `json:"frozen,omitempty"` // the target's cgroup is frozen
}

// Kubelet describes the node's kubelet and the container runtime that it uses.
type Kubelet struct {
	PID      int    `json:"pid"`
	Endpoint string `json:"endpoint"` // of the container runtime, as configured

	// Runtime is the process that listens there, 0 if unknown. 1 is systemd, which starts
	// the runtime on demand.
	Runtime    int    `json:"runtime,omitempty"`
	RuntimeExe string `json:"runtimeExe,omitempty"`

	// Cloud is the cloud provider in kubelet's configuration, "" for none.
	Cloud string `json:"cloud,omitempty"`
}

// System is what the machine's own files say about it.
type System struct {
	Distribution string   `json:"system,omitempty"`    // name and version of the distribution
	Kernel       string   `json:"kernel,omitempty"`    // its release, as in uname -r
	CgroupV2     bool     `json:"cgroupV2"`            // the unified hierarchy is mounted
	Obstacles    []string `json:"obstacles,omitempty"` // what may prevent tracing, see procfs.ExplainRefusal
	Kubelet      *Kubelet `json:"kubelet,omitempty"`   // nil if none runs
}
