package diag

// Code names one kind of failure. Codes are stable: scripts may match them in
// JSON output.
type Code string

// The codes, grouped by exit status.
const (
	Internal Code = "internal" // a bug, or a failure without a code of its own

	Usage           Code = "usage"            // invalid flags, arguments or variables
	ConfigInvalid   Code = "config-invalid"   // an invalid configuration file
	ConfigUntrusted Code = "config-untrusted" // one that needs trust, or that others can write to
	SyncRefused     Code = "sync-refused"     // a directory on the node that sync must not write to

	NodeUnknown      Code = "node-unknown"      // --node names no known machine
	NodeNotLocal     Code = "node-not-local"    // a node that may be shared or in production
	NodeUnreachable  Code = "node-unreachable"  // no TCP connection, or it broke during the login
	HostKeyUnknown   Code = "host-key-unknown"  // the node's host key is in no known_hosts file
	HostKeyChanged   Code = "host-key-changed"  // the node's host key differs from the known one
	KeyRefused       Code = "key-refused"       // the node accepts none of our keys
	IdentityUnusable Code = "identity-unusable" // --identity cannot be read or decrypted
	NoSudo           Code = "no-sudo"           // no passwordless sudo on the node
	AgentUpload      Code = "agent-upload"      // the agent cannot be stored or started on the node
	AgentProtocol    Code = "agent-protocol"    // the agent speaks another version, or what answers is not an agent
	NodePlatform     Code = "node-platform"     // the node runs nothing that Delve can trace on
	LinkLost         Code = "link-lost"         // the link to the agent ended
	NodeSilent       Code = "node-silent"       // connected, but not answering
	SyncBusy         Code = "sync-busy"         // another sync writes to the same directory
	SyncFailed       Code = "sync-failed"       // some files could not be copied

	TargetNone     Code = "target-none"     // no matching process
	TargetSeveral  Code = "target-several"  // several matching processes
	TargetStripped Code = "target-stripped" // no debug information
	TwinRefused    Code = "twin-refused"    // a stripped target cannot be built again
	TwinBuild      Code = "twin-build"      // building it again failed
	TwinDiffers    Code = "twin-differs"    // the twin is not the same program
	TargetNotGo    Code = "target-not-go"   // not a Go program
	TargetTraced   Code = "target-traced"   // another debugger is attached
	TargetBusy     Code = "target-busy"     // another dapbridge debugs it
	TargetGone     Code = "target-gone"     // it ended meanwhile
	PtraceRefused  Code = "ptrace-refused"  // the kernel forbids tracing it
	AttachFailed   Code = "attach-failed"   // Delve cannot attach
	DetachFailed   Code = "detach-failed"   // the target was not released in time
	DlvUnusable    Code = "dlv-unusable"    // --dlv-addr names no usable dlv
	SourceMissing  Code = "source-missing"  // a source file that neither host nor node has
	SourceUnknown  Code = "source-unknown"  // the source that the target was built from cannot be found
	TargetNoUnit   Code = "target-no-unit"  // no systemd service runs it
	JournalFailed  Code = "journal-failed"  // its journal cannot be read

	DeployRefused Code = "deploy-refused" // the target cannot be replaced safely
	DeploySpace   Code = "deploy-space"   // no room on the node
	DeployShip    Code = "deploy-ship"    // the upload of the build failed
	DeployFailed  Code = "deploy-failed"  // the new build does not serve; the previous one does
	DeployStuck   Code = "deploy-stuck"   // neither does
	DeployBuild   Code = "deploy-build"   // the build failed
	DeploySource  Code = "deploy-source"  // the directory is not the target's source
	RestoreFailed Code = "restore-failed" // something could not be restored

	AgentMissing  Code = "agent-missing"  // no agent executable for the node's platform
	ListenFailed  Code = "listen-failed"  // the local address is taken or forbidden
	SessionBusy   Code = "session-busy"   // another IDE has the session
	WriteFailed   Code = "write-failed"   // a local file cannot be written
	WatchFailed   Code = "watch-failed"   // the source cannot be watched for changes
	NoRsync       Code = "no-rsync"       // no usable rsync, so no delta transfer
	LaunchInvalid Code = "launch-invalid" // an existing launch.json cannot be parsed
	SourceExists  Code = "source-exists"  // something else is where the source would go
	DirUnsafe     Code = "dir-unsafe"     // a directory of ours that others can write to
	DaemonSilent  Code = "daemon-silent"  // a dapbridge serve does not answer
	Unsupported   Code = "unsupported"    // not possible on this platform
)

// Entry is one line of the catalogue.
type Entry struct {
	Code Code
	Exit int    // the process's exit status
	Hint string // the general remedy; an Error may carry a more specific one
}

// Catalogue lists every code once; [Explain] describes it. Exit statuses: 1
// unexpected, 2 usage and configuration, 3 the node, 4 the target, 5 the host.
func Catalogue() []Entry {
	return []Entry{
		{Internal, 1, "this is probably a bug in dapbridge: run the command again with --log-level debug and report its output"},
		{Usage, 2, "see dapbridge --help"},
		{ConfigInvalid, 2, "correct the file: docs/config.md lists the keys"},
		{ConfigUntrusted, 2, "read the file, then run dapbridge trust on it, or move the setting to your own configuration"},
		{SyncRefused, 2, "name another directory on the node with --to; add --force if you do mean this one"},

		{NodeUnknown, 3, "name the node as minikube[:PROFILE] or ssh://USER@HOST[:PORT]"},
		{NodeNotLocal, 3, "dapbridge is for toy clusters: while containerd is halted, no pod on its node can start; if this is a toy, add its host to local-nodes in your configuration, or pass --allow-non-local"},
		{NodeUnreachable, 3, "check that the node is running (minikube status) and that its SSH port is reachable"},
		{HostKeyUnknown, 3, "connect once with ssh to verify and store the key, then try again"},
		{HostKeyChanged, 3, "if the node was recreated, remove its old line from the file named above; otherwise somebody may be intercepting the connection"},
		{KeyRefused, 3, "name the private key with --identity FILE, or load it with ssh-add"},
		{IdentityUnusable, 3, "check the path and its permissions; load a key that has a passphrase with ssh-add"},
		{NoSudo, 3, "give the SSH user passwordless sudo on the node: echo 'USER ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/dapbridge"},
		{AgentUpload, 3, "check for free space and noexec mounts under /var/lib on the node"},
		{AgentProtocol, 3, "reinstall this release of dapbridge; an older agent on the node is replaced automatically"},
		{NodePlatform, 3, "targets can be debugged on linux/amd64 and linux/arm64 nodes"},
		{NodeSilent, 3, "log in with ssh and check whether the node is overloaded or its login shell is waiting for input"},
		{LinkLost, 3, "try again once the node is reachable; the node releases the target by itself"},
		{SyncBusy, 3, "end the other dapbridge sync first"},
		{SyncFailed, 3, "fix what is reported for each file, then run dapbridge sync again"},

		{TargetNone, 4, "list the candidates with dapbridge ps, then choose one with --target NAME or --pid PID"},
		{TargetSeveral, 4, "choose one with --pid PID"},
		{TargetStripped, 4, "run dapbridge symbols in its source directory, with the same flags: it builds the symbols and leaves the target as it is"},
		{TwinRefused, 4, "run a build with debug information on the node (containerd: make GODEBUG=1 bin/containerd)"},
		{TwinBuild, 5, "see the Go toolchain's messages above; dapbridge symbols --print shows the build as a shell command"},
		{TwinDiffers, 4, "name the directory of the exact source that the target was built from; dapbridge symbols --print shows how it was built"},
		{TargetNotGo, 4, "only Go programs can be debugged; list the candidates with dapbridge ps"},
		{TargetTraced, 4, "end the other debugger first"},
		{TargetBusy, 4, "end the other dapbridge or its session first"},
		{TargetGone, 4, "start debugging again to attach to the new process"},
		{PtraceRefused, 4, "the node's kernel or container runtime forbids ptrace: check /proc/sys/kernel/yama/ptrace_scope and seccomp"},
		{AttachFailed, 4, "run again with --log-level debug to see Delve's messages"},
		{DlvUnusable, 4, "check what listens there on the node: ss -ltnp"},
		{SourceMissing, 4, "get the source that the target was built from, and name its place with --map HOST=NODE"},
		{SourceUnknown, 4, "run dapbridge source in a clone of the target's repository that has its commits and tags (git fetch --tags)"},
		{TargetNoUnit, 4, "this works only for a systemd service on the node itself; dapbridge ps shows the unit of each target"},
		{JournalFailed, 4, "check on the node whether systemd's journal can be read: sudo journalctl --unit=UNIT"},
		{DetachFailed, 4, "check the target on the node: grep TracerPid /proc/PID/status"},

		{DeployRefused, 4, "dapbridge symbols lets you debug a stripped target as it is"},
		{DeploySpace, 3, "make room on the node (df -h shows the free space); nothing was changed"},
		{DeployShip, 3, "nothing was changed on the node: try again once it is reachable"},
		{DeployFailed, 4, "the previous build runs again and nothing was changed: the lines above are the last of the new build's journal"},
		{DeployStuck, 4, "run dapbridge restore; dapbridge logs shows the target's messages"},
		{DeployBuild, 5, "fix the errors above, or build with another command (--build); nothing was changed on the node"},
		{DeploySource, 5, "name the target's source directory: dapbridge deploy DIR"},
		{RestoreFailed, 4, "check dapbridge logs, then run dapbridge restore again: everything it needs is kept"},

		{AgentMissing, 5, "install dapbridge again, by make build, go install or from a release: each has an agent for every node"},
		{ListenFailed, 5, "choose another address with --listen, or end the process that uses this one"},
		{SessionBusy, 5, "end the other session first, or run dapbridge serve with --takeover"},
		{WriteFailed, 5, "check the permissions and the free space there"},
		{WatchFailed, 5, "end other programs that watch files, or raise the limit: sudo sysctl fs.inotify.max_user_instances=1024"},
		{NoRsync, 5, "install rsync 3.4 or newer with your system's package manager (macOS: brew install rsync), or a package that fixes CVE-2024-12086 and says so in its changelog"},
		{LaunchInvalid, 5, "correct the file, or move it away and run the command again"},
		{SourceExists, 5, "name another directory with --to, or move this one away"},
		{DirUnsafe, 5, "move that directory away and run the command again: it is recreated as yours alone"},
		{DaemonSilent, 5, "check whether that process hangs, is stopped or belongs to another release; end it and start it again"},
		{Unsupported, 5, "see the README for what is supported where"},
	}
}

func lookup(code Code) Entry {
	for _, e := range Catalogue() {
		if e.Code == code {
			return e
		}
	}
	return Entry{Code: code, Exit: 1}
}
