package daemon

import (
	"context"
	"path"
	"regexp"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/deploy"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// Deployment is what a deploy needs besides the Config.
type Deployment struct {
	Builder  *deploy.Builder
	LDFlags  string            // the linker's, besides those that the target records
	Request  api.DeployRequest // Args, Relax, Ready and Force
	DryRun   bool              // build and change nothing
	Built    func(*deploy.Artifact)
	Step     func(api.SwapStep)            // called when the node begins a step
	Progress func(sent, done, total int64) // bytes that have gone, and of the build, which they stand for
}

// DeployResult is what was done, or with DryRun what there is to do.
type DeployResult struct {
	State    api.InspectResult `json:"state"` // before
	Recipe   *recipe.Debug     `json:"recipe,omitempty"`
	Built    *deploy.Artifact  `json:"built,omitempty"`
	Deployed *api.DeployResult `json:"deployed,omitempty"`
	Shipped
}

// Deploy builds the target from the source in c.Root, puts the build in its
// place on the node and restarts it. The error is a *swap.Failure if the new
// build did not serve and was taken back.
func Deploy(ctx context.Context, c Config, d Deployment) (*DeployResult, error) {
	if p := recipe.PresetOf(c.Target.Executable()); p != nil && p.Refusal != "" && c.Target.PID == 0 {
		return nil, diag.Errorf(diag.DeployRefused, "%s", p.Refusal).WithHint("put another build in its place by hand; the runtime takes it for the next container")
	}
	c.errand = true
	l, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	defer l.close()
	r := &DeployResult{}
	if err := l.swap(ctx, api.SwapInspect, api.InspectRequest{Target: c.Target, Force: d.Request.Force}, &r.State, nil, nil); err != nil {
		return nil, err
	}
	r.Recipe, err = d.recipe(r.State)
	r.State.Origin = nil // it has served its purpose
	if err != nil || d.DryRun {
		return r, err
	}
	if r.Built, err = d.Builder.Build(ctx, r.Recipe, c.Root); err != nil {
		return r, err
	}
	d.Built(r.Built)
	q := d.Request
	q.Target, q.By = c.Target, c.Self
	q.SHA256, q.Size, q.Needs = r.Built.SHA256, r.Built.Size, r.Built.Needs
	ship := &shipment{builder: d.Builder, built: r.Built, progress: d.Progress}
	var deployed api.DeployResult
	err = l.swap(ctx, api.SwapDeploy, q, &deployed, ship.send, func(step api.SwapStep) {
		if step == api.StepSwapping {
			ship.arrived()
		}
		d.Step(step)
	})
	r.Shipped = ship.shipped()
	if err == nil {
		r.Deployed = &deployed
	}
	return r, err
}

// recipe works out how the target is built; a command of the user's needs to
// know no more than the platform.
func (d *Deployment) recipe(s api.InspectResult) (*recipe.Debug, error) {
	switch {
	case s.Origin == nil:
		return nil, diag.Errorf(diag.TargetNotGo, "%s is not a Go program", s.Path)
	case d.Builder.Command != "":
		return &recipe.Debug{Package: buildName(s.Path), Arch: s.Origin.Arch}, nil
	}
	return recipe.NewDebug(s.Origin, d.LDFlags)
}

// buildName is the name of the file that a command of the user's is to write: that of
// the target, whose path is the node's to say, if it is a plain one.
func buildName(targetPath string) string {
	if name := path.Base(targetPath); regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$`).MatchString(name) {
		return name
	}
	return "target"
}

// Restore puts everything back that deploys have changed on the node, and
// removes the agent and what it keeps there. q.By is set here.
func Restore(ctx context.Context, c Config, q api.RestoreRequest, step func(api.SwapStep)) (*api.RestoreResult, error) {
	c.errand = true
	l, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	defer l.close()
	q.By = c.Self
	r := &api.RestoreResult{}
	if err := l.swap(ctx, api.SwapRestore, q, r, nil, step); err != nil {
		return nil, err
	}
	return r, nil
}
