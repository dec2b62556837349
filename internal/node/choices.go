package node

import "cmp"

// Choice is something that --node could name.
type Choice struct{ Spec, What string }

// ListChoices lists the nodes of minikube that its files name, for completion.
func ListChoices(o Options) []Choice {
	h := minikubeHome(o)
	var known []Choice
	for _, name := range h.profiles() {
		c, err := h.loadProfile(name)
		if err != nil {
			continue
		}
		known = append(known, Choice{"minikube:" + name, "minikube's profile, driver " + c.Driver})
		for _, n := range c.Nodes {
			if len(c.Nodes) > 1 {
				known = append(known, Choice{"minikube:" + name + "/" + cmp.Or(n.Name, c.machineName(n)), "a node of " + name})
			}
		}
	}
	return known
}
