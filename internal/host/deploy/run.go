package deploy

import (
	"context"
	"path"
	"regexp"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// Options configure [Run]. The functions must not be nil.
type Options struct {
	Builder  *Builder
	Root     string                        // where the target's source is on the host
	LDFlags  string                        // linker flags in addition to those that the target records
	Request  api.DeployRequest             // the caller sets only Args, Relax, Ready and Force
	DryRun   bool                          // only inspect the node: build and change nothing
	Built    func(*Artifact)               // called when the build is done
	Step     func(api.SwapStep)            // called when the node starts a step
	Progress func(sent, done, total int64) // bytes sent, and bytes of the build that they encode
}

// Result says what was done, or with DryRun what would be done.
type Result struct {
	State    api.InspectResult `json:"state"` // of the node, before the deploy
	Recipe   *recipe.Debug     `json:"recipe,omitempty"`
	Built    *Artifact         `json:"built,omitempty"`
	Deployed *api.DeployResult `json:"deployed,omitempty"`
	Upload
}

// Run builds the target from the source in o.Root, puts the build in its place on the
// node and restarts it. The error is an *api.DeployFailure if the new build did not
// serve and was rolled back.
func Run(ctx context.Context, c link.Config, o Options) (*Result, error) {
	if p := recipe.PresetOf(c.Target.Executable()); p != nil && p.Refusal != "" && c.Target.PID == 0 {
		return nil, diag.Errorf(diag.DeployRefused, "%s", p.Refusal).WithHint("put another build in its place by hand; the runtime takes it for the next container")
	}
	c.NoSession = true
	l, err := link.Dial(ctx, c)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	r := &Result{}
	if err := runSwap(ctx, l, api.SwapInspect, api.InspectRequest{Target: c.Target, Force: o.Request.Force}, &r.State, nil, nil); err != nil {
		return nil, err
	}
	r.Recipe, err = o.newRecipe(r.State)
	r.State.Origin = nil // large and no longer needed
	if err != nil || o.DryRun {
		return r, err
	}
	if r.Built, err = o.Builder.Build(ctx, r.Recipe, o.Root); err != nil {
		return r, err
	}
	o.Built(r.Built)
	q := o.Request
	q.Target, q.By = c.Target, c.Self
	q.SHA256, q.Size, q.Needs = r.Built.SHA256, r.Built.Size, r.Built.Needs
	u := &upload{builder: o.Builder, built: r.Built, progress: o.Progress}
	var deployed api.DeployResult
	err = runSwap(ctx, l, api.SwapDeploy, q, &deployed, u.send, func(step api.SwapStep) {
		if step == api.StepSwapping {
			u.finish()
		}
		o.Step(step)
	})
	r.Upload = u.result()
	if err == nil {
		r.Deployed = &deployed
	}
	return r, err
}

// newRecipe returns the recipe for a debug build of the target. The user's own build
// command needs only the platform.
func (o *Options) newRecipe(s api.InspectResult) (*recipe.Debug, error) {
	switch {
	case s.Origin == nil:
		return nil, diag.Errorf(diag.TargetNotGo, "%s is not a Go program", s.Path)
	case o.Builder.Command != "":
		return &recipe.Debug{Package: buildName(s.Path), Arch: s.Origin.Arch}, nil
	}
	return recipe.NewDebug(s.Origin, o.LDFlags)
}

// buildName returns the name of the file that the user's build command must write. It is
// the target's base name, but only if that has no unusual characters, since the node
// controls it.
func buildName(targetPath string) string {
	if name := path.Base(targetPath); regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$`).MatchString(name) {
		return name
	}
	return "target"
}

// Restore undoes everything that deploys have changed on the node, and removes the agent
// and its files. It sets q.By.
func Restore(ctx context.Context, c link.Config, q api.RestoreRequest, step func(api.SwapStep)) (*api.RestoreResult, error) {
	c.NoSession = true
	l, err := link.Dial(ctx, c)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	q.By = c.Self
	r := &api.RestoreResult{}
	if err := runSwap(ctx, l, api.SwapRestore, q, r, nil, step); err != nil {
		return nil, err
	}
	return r, nil
}
