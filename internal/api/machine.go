package api

const MethodMachine = "machine" // -> Machine

// Machine is what the agent finds where it runs.
type Machine struct {
	System
	Dir       string `json:"dir"`              // below which the agent and its files stand
	Free      int64  `json:"free"`             // bytes that root may still write there
	Rsync     string `json:"rsync,omitempty"`  // path of the program, "" if there is none
	NoTracing string `json:"noTracing"`        // why a child could not be traced, "" if it could
	Frozen    bool   `json:"frozen,omitempty"` // the target's cgroup is
}

// Kubelet is the node's kubelet, and what it says of the runtime that it uses.
type Kubelet struct {
	PID      int    `json:"pid"`
	Endpoint string `json:"endpoint"` // of the container runtime, as it is configured

	// Runtime is the process that listens there, 0 if that can't be told: 1 is
	// systemd, which starts it when it is needed.
	Runtime    int    `json:"runtime,omitempty"`
	RuntimeExe string `json:"runtimeExe,omitempty"`

	// Cloud is the cloud that it says to run in, "" for none.
	Cloud string `json:"cloud,omitempty"`
}

// System is what the machine that the agent runs on says of itself.
type System struct {
	Distribution string   `json:"system,omitempty"`    // name and version of the distribution
	Kernel       string   `json:"kernel,omitempty"`    // its release, as uname -r
	CgroupV2     bool     `json:"cgroupV2"`            // of the unified hierarchy
	Obstacles    []string `json:"obstacles,omitempty"` // what may keep us from tracing, see ExplainRefusal
	Kubelet      *Kubelet `json:"kubelet,omitempty"`   // nil if none runs
}
