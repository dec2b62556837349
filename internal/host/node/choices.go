package node

import "cmp"

// Choice is a value for --node, with a description.
type Choice struct{ Spec, What string }

// ListChoices returns the minikube nodes in o's MINIKUBE_HOME, for completion.
// Profiles that cannot be read are left out.
func ListChoices(o Options) []Choice {
	h := minikubeHome(o)
	var known []Choice
	for _, name := range h.profiles() {
		c, err := h.loadProfile(name)
		if err != nil {
			continue
		}
		known = append(known, Choice{"minikube:" + name, "minikube profile, driver " + c.Driver})
		for _, n := range c.Nodes {
			if len(c.Nodes) > 1 {
				known = append(known, Choice{"minikube:" + name + "/" + cmp.Or(n.Name, c.machineName(n)), "node of " + name})
			}
		}
	}
	return known
}
