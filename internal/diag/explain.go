package diag

// Explanation describes a kind of failure for docs/troubleshooting.md.
type Explanation struct {
	Title string // as somebody would search for it
	Text  string // when it occurs, in one or two sentences
}

// Explain describes the failures with that code. It returns the zero value for a
// code that is not in the catalogue.
func Explain(code Code) Explanation {
	return map[Code]Explanation{
		Internal: {"Unexpected failure", "Something failed in a way that dapbridge does not expect."},

		Usage:           {"Invalid command line", "A flag, an argument or a `DAPBRIDGE_...` variable is invalid. The node was not contacted."},
		ConfigInvalid:   {"Invalid configuration file", "A dapbridge.yaml or your own configuration cannot be read, or has an unknown key or an invalid value. The message names the line."},
		ConfigUntrusted: {"Configuration file is not trusted", "A workspace's dapbridge.yaml sets a key that needs your consent, or other users can write to a file that only you should be able to write to. See [security.md](security.md)."},
		SyncRefused:     {"Sync refuses the directory on the node", "The directory belongs to the system or another user, contains files that `dapbridge sync` did not create, or is reached through a symbolic link; or dapbridge cannot tell where this source belongs. See [sync.md](sync.md)."},

		NodeUnknown:      {"Node not found", "`--node`, or the default, leads to no machine: there is no such minikube profile, it has no address, or ssh's configuration for the host cannot be used."},
		NodeNotLocal:     {"Node is not local", "The node is not on this machine, not a minikube profile and not listed in `local-nodes`: others may depend on it."},
		NodeUnreachable:  {"Cannot connect to the node", "The connection to the node's SSH server failed, or broke during the login."},
		HostKeyUnknown:   {"Host key is unknown", "The node's host key is in no known_hosts file, or these files cannot be read."},
		HostKeyChanged:   {"Host key has changed", "The node presents a different host key than the known one. Either the node was recreated, or another machine answers in its place."},
		KeyRefused:       {"SSH login refused", "The node accepts none of the keys offered for this user."},
		IdentityUnusable: {"Private key cannot be used", "The file given by `--identity` cannot be read, is not a private key, or has a passphrase."},
		NoSudo:           {"No passwordless sudo on the node", "The login works, but its user cannot become root on the node without a password or a terminal."},
		AgentUpload:      {"Agent cannot be uploaded or started", "No directory on the node has both free space and permission to run programs, or the upload broke."},
		AgentProtocol:    {"Agent does not answer as expected", "The agent on the node is of another version, or something else answered: often a login script that prints text."},
		NodePlatform:     {"Unsupported node platform", "The node does not run Linux, or has a processor that Delve does not support."},
		NodeSilent:       {"Node does not answer", "The connection stands, but no answer came for a minute: the node is overloaded, a command on it is waiting for something, or what answers is not the agent."},
		LinkLost:         {"Connection to the node lost", "The connection ended during a session. The node releases the target by itself, after `--lease` at the latest."},
		SyncBusy:         {"Another sync is running", "Another `dapbridge sync` writes to the same directory on the node."},
		SyncFailed:       {"Some files were not copied", "The message names the files that could not be copied to the node. All others were copied."},

		TargetNone:     {"Target not found", "No process on the node has that unit, name or pid."},
		TargetSeveral:  {"Several targets match", "Several processes match, such as a second containerd inside a container. The message lists them."},
		TargetStripped: {"Target is stripped", "The target has no debug information, and its symbols have not been built. A session without variables is refused (`--symbols refuse`), or impossible: the target's function table is older than Go 1.20's, or damaged. See [symbols.md](symbols.md)."},
		TwinRefused:    {"Symbols cannot be built", "The target's build information is not sufficient to build it again, or asks for something that dapbridge does not run."},
		TwinBuild:      {"Building the symbols failed", "The Go toolchain could not build the target's source on this machine, or the source is not available."},
		TwinDiffers:    {"Symbols do not match the target", "The result of the build is not the running program: the source, the flags or the toolchain differ. Its symbols would be wrong, so they are not used."},
		TargetNotGo:    {"Target is not a Go program", "The executable is not a Go program, or its tables are damaged."},
		TargetTraced:   {"Another debugger is attached", "Another program traces the target, and Linux allows only one. The message names it."},
		TargetBusy:     {"Another dapbridge debugs the target", "The message names it; it may be another user's."},
		TargetGone:     {"Target has ended", "The process ended meanwhile; its unit may have started another."},
		PtraceRefused:  {"Tracing is forbidden", "The node's kernel, or the container that the node is, forbids tracing or reading the process."},
		AttachFailed:   {"Delve cannot attach", "Delve could not attach to the target, or its process ended. The target keeps running."},
		DlvUnusable:    {"The dlv at --dlv-addr cannot be used", "Nothing listens at that address on the node, or another program does, or the dlv there accepts only one client or debugs another process."},
		SourceMissing:  {"Source file not found", "The source file is neither on this machine nor on the node, or the node must not send it."},

		SourceUnknown: {"Target's source cannot be found", "`dapbridge source` finds the source that the target was built from neither in the repository around the workspace nor as a published version, or the target does not record which it is. The message says what was tried."},
		TargetNoUnit:  {"Target is not a systemd service", "`dapbridge logs` and `dapbridge deploy` work only for processes of a systemd service."},
		JournalFailed: {"Journal cannot be read", "journalctl fails on the node."},
		DeployRefused: {"Deploy refuses the target", "Replacing the target's executable is impossible or would do harm: its file system is read-only, its unit is masked, restarting it would end containers, or it is started in an unknown way. See [deploy.md](deploy.md)."},
		DeploySpace:   {"No space on the node", "The node has no room for the build, or for the copy of the original."},
		DeployShip:    {"Upload of the build failed", "The build arrived on the node damaged, or the connection broke while the node worked on it."},
		DeployFailed:  {"Deployed build does not serve", "The deployed build ended, or did not serve within `--ready`. The previous build was put back and serves."},
		DeployStuck:   {"Neither build serves", "The deployed build does not serve, and neither does the previous one, which was put back."},
		DeployBuild:   {"Build for deploy failed", "The build failed, or its result cannot run or be debugged on the node. The message names what the node lacks."},
		DeploySource:  {"Not the target's source", "The directory is not in the module that the target's program belongs to."},
		RestoreFailed: {"Restore is incomplete", "A file, a unit or a process could not be restored. Everything needed to do so is kept."},
		DetachFailed:  {"Target was not released", "The target was not released in the usual time, or the check afterwards found it still traced or changed."},

		AgentMissing:  {"No agent for the node's platform", "The node needs the dapbridge of this version that was built for its platform. It is neither beside this program nor on the node, and could not be built; or the file named by `--agent` cannot be used. The hint is the command that gets it. See [nodes.md](nodes.md#the-agent)."},
		ListenFailed:  {"Cannot listen on the address", "The address for the IDE is in use or not permitted."},
		SessionBusy:   {"Another IDE has the session", "Another IDE debugs the target. The message names it."},
		WriteFailed:   {"Cannot write a file", "A file on this machine cannot be written."},
		WatchFailed:   {"Cannot watch files", "The system has no watches left: other programs use all that one user may have."},
		NoRsync:       {"No usable rsync", "This machine or the node has no rsync that `dapbridge sync` can use, so dapbridge sends changed files whole; nothing else differs. It does not use openrsync (macOS), nor versions before 3.4, with which a hostile node can read files on this machine, unless the package's changelog names CVE-2024-12086. See [sync.md](sync.md)."},
		LaunchInvalid: {"Cannot parse launch.json", "The existing launch.json cannot be parsed, so nothing is added to it. The message names the line."},
		SourceExists:  {"Directory for the source exists", "Where `dapbridge source` would put the source, there is something that it did not create, or another version. It overwrites nothing."},
		DirUnsafe:     {"Directory is not private", "dapbridge's cache or state directory belongs to another user, or others can write to it: whatever they put there would become root on your node."},
		DaemonSilent:  {"`dapbridge serve` does not answer", "A `dapbridge serve` of yours does not answer on its control socket: it hangs, is stopped, or belongs to another release."},
		Unsupported:   {"Not supported here", "This platform, or something installed on this machine, does not support the operation."},
	}[code]
}
