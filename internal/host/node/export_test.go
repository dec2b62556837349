package node

// FromSSHSettings returns the node for the settings that ssh -G prints.
func FromSSHSettings(s map[string][]string, o Options) (*Node, error) {
	return sshSettings(s).newNode("h", o)
}
