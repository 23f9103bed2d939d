package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/discover"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/flagfile"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/flags"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/render"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// planOptions are the flags of plan.
type planOptions struct {
	flags.Evacuation
	capacity    string
	problem     string
	save        string
	saveProblem string
	anonymise   bool
	html        string
}

func newPlan(a *app) *cobra.Command {
	o := &planOptions{}
	c := &cobra.Command{
		Use: "plan (--vm SOCKET... | --discover GLOB) (--to [NAME=]HOST[:PORT]... | --hosts FILE) --interface IF --tls-dir DIR\n" +
			"  scatter plan --problem FILE",
		Short: "Say what send would do, and what hinders it",
		Long: `plan runs an evacuation up to the plan, moves nothing, and prints it: which VM goes where and why,
which VMs share how much, what crosses the network and in what order, how long it takes. What hinders
each VM is listed: every target has tried to start it. It reads all the VMs' memory. A plan that is kept with --save can be changed and is executed by
'send --plan'.

With --problem it plans from a description instead of live VMs; docs/problem.schema.json is its format.`,
		Annotations: exitHelp(
			"0    send would start",
			helpUsage,
			"3    send would start, but some VMs cannot move and would stay",
			"4    blockers were found, or there is no placement: send would move nothing",
			helpCancelled),
		Example: `  scatter plan --discover '/run/vms/*.qmp' --to beta=10.0.0.2:7400 --to gamma=10.0.0.3:7400 \
      --interface eth1 --tls-dir /etc/scatter/tls --save plan.json --html plan.html
  scatter plan --problem what-if.json --objective hosts --json`,
		Args: cobra.NoArgs,
		RunE: a.running(slog.LevelError, func(ctx context.Context) error { return o.run(ctx, a) }),
	}
	f := c.Flags()
	o.Evacuation.Add(f)
	f.StringVar(&o.capacity, "capacity", "", "how VMs' memory counts on a host: `sum|shared`; shared: the host merges equal pages (default: sum)")
	f.StringVar(&o.problem, "problem", "", "plan from the JSON `file` instead of live VMs")
	f.StringVar(&o.save, "save", "", "keep the plan in `file`, for 'send --plan'")
	f.StringVar(&o.saveProblem, "save-problem", "", "write what the plan was made from to `file`, for --problem")
	f.BoolVar(&o.anonymise, "anonymise", false, "replace all names in --save-problem by numbers")
	f.StringVar(&o.html, "html", "", "draw the plan as a page in `file`")
	return c
}

func (o *planOptions) run(ctx context.Context, a *app) error {
	switch {
	case o.capacity != "" && o.capacity != scatter.CapacitySum && o.capacity != scatter.CapacityShared:
		return usage.Errorf("--capacity %q: must be sum or shared", o.capacity)
	case o.anonymise && o.saveProblem == "":
		return usage.Errorf("--anonymise needs --save-problem")
	}
	files, err := o.open()
	if err != nil {
		return err
	}
	defer files.discard()
	if o.problem != "" {
		return o.fromProblem(ctx, a, files)
	}
	cfg, err := o.Config(ctx)
	if err != nil {
		return err
	}
	cfg.Capacity = o.capacity
	return a.plan(ctx, cfg, o.Discover, false, files)
}

// fromProblem plans without live VMs.
func (o *planOptions) fromProblem(ctx context.Context, a *app, files *planFiles) error {
	if o.Live() {
		return usage.Errorf("--problem says which VMs and hosts there are: it excludes --vm, --discover and --to")
	}
	problem, err := o.readProblem(a)
	if err != nil {
		return err
	}
	net, err := o.Network()
	if err != nil {
		return err
	}
	p, err := scatter.PlanProblem(ctx, *problem, net)
	if _, blocked := errors.AsType[*scatter.BlockedError](err); err != nil && !blocked {
		return usage.Errorf("--problem: %s: %w", o.problem, err)
	}
	return a.showPlan(p, files)
}

// readProblem reads the problem. Flags win over what it says.
func (o *planOptions) readProblem(a *app) (p *scatter.Problem, err error) {
	if p, err = flagfile.Read("problem", o.problem, scatter.ReadProblem); err != nil {
		return nil, err
	}
	if o.capacity != "" {
		p.Capacity = o.capacity
	}
	passed, err := o.Override(p)
	for _, what := range passed {
		a.say(a.stderr, "%s", what)
	}
	if err != nil {
		return nil, nothingMoved(err)
	}
	return p, nil
}

// plan makes a plan and shows it. With events, the way to it is printed too under --json.
func (a *app) plan(ctx context.Context, cfg scatter.SendConfig, glob string, events bool, files *planFiles) error {
	p, err := makePlan(ctx, a, cfg, glob, events)
	blocked, isBlocked := errors.AsType[*scatter.BlockedError](err)
	if err != nil && !isBlocked {
		return nothingMoved(err)
	}
	if p == nil {
		p = &scatter.Plan{Format: scatter.PlanFormat, Blockers: blocked.Blockers}
	}
	return a.showPlan(p, files)
}

// showPlan prints a plan and writes it to files.
func (a *app) showPlan(p *scatter.Plan, files *planFiles) error {
	if err := errors.Join(files.write(p), a.printPlan(p)); err != nil {
		return err
	}
	if n := len(p.Blockers); n > 0 {
		return &statusError{code: exitNothing, err: fmt.Errorf("blockers: %d; send would move nothing", n), blockers: p.Blockers}
	}
	if stay := render.Staying(p); len(stay) > 0 {
		return &statusError{code: exitSomeStay, err: fmt.Errorf("send would leave on this host: %s", names(stay)), stayed: stay, blockers: p.Stays}
	}
	return nil
}

func makePlan(ctx context.Context, a *app, cfg scatter.SendConfig, glob string, events bool) (*scatter.Plan, error) {
	v := a.newView(events)
	defer v.Close()
	ctx, stop := a.interruptible(ctx, v)
	defer stop()
	if err := discover.VMs(ctx, &cfg, glob, v.Event); err != nil {
		return nil, err
	}
	cfg.Log, cfg.Events = v.Log, v.Event
	p, err := scatter.MakePlan(ctx, cfg)
	return p, causeOf(ctx, err)
}
