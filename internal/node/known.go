package node

// Choice is something that --node could name.
type Choice struct{ Spec, What string }

// Known lists the nodes of minikube that its files name, for completion.
func Known(o Options) []Choice {
	h := minikubeHome(o)
	var known []Choice
	for _, name := range h.profiles() {
		c, err := h.load(name)
		if err != nil {
			continue
		}
		known = append(known, Choice{"minikube:" + name, "minikube's profile, driver " + c.Driver})
		for _, n := range c.Nodes {
			if len(c.Nodes) > 1 {
				known = append(known, Choice{"minikube:" + name + "/" + orElse(n.Name, c.machine(n)), "a node of " + name})
			}
		}
	}
	return known
}
