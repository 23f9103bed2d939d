package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/scatter"
)

// planFlags are what a plan depends on; send has them too.
type planFlags struct {
	netFlags
	vms       []string
	discover  string
	to        []string
	rate      rateFlag
	place     []string
	domains   []string
	groupBase string
	maxGroups int
	maxMember int
	unicast   bool
	downtime  time.Duration
	timeout   time.Duration
	noZstd    bool
}

func (p *planFlags) add(f *pflag.FlagSet) {
	p.netFlags.add(f)
	f.StringArrayVar(&p.vms, "vm", nil, "QMP `socket` of a VM to move; may be repeated")
	f.StringVar(&p.discover, "discover", "", "move the VMs of all QMP sockets that match `glob`")
	f.StringArrayVar(&p.to, "to", nil, "a target, as `[NAME=]IP:PORT`; may be repeated (required)")
	f.Var(&p.rate, "rate", "ceiling of everything that is sent, as in 500mbit or 60MB (default: what the link gives)")
	f.StringArrayVar(&p.place, "place", nil, "put a VM on a certain target, as `VM=HOST`; may be repeated")
	f.StringArrayVar(&p.domains, "domain", nil, "share pages of a VM only inside its domain, as `VM=DOMAIN`; may be repeated")
	f.StringVar(&p.groupBase, "group-base", "239.77.0.0", "first multicast `address` to use")
	f.IntVar(&p.maxGroups, "max-groups", 64, "sets of targets that get a multicast group at most")
	f.IntVar(&p.maxMember, "max-memberships", 16, "groups that a target is a member of at one time, at most")
	f.BoolVar(&p.unicast, "unicast", false, "use no multicast at all")
	f.DurationVar(&p.downtime, "downtime", 300*time.Millisecond, "tolerated pause of each VM")
	f.DurationVar(&p.timeout, "timeout", 0, "give up after this time; VMs not yet switched over stay (default: never)")
	f.BoolVar(&p.noZstd, "no-compress", false, "send pages uncompressed")
}

// config checks the flags and gives the engine's configuration; sockets of --discover are not yet in it.
func (p *planFlags) config() (scatter.SendConfig, error) {
	cfg := scatter.SendConfig{
		VMs: slices.Clone(p.vms), Interface: p.iface, TLSDir: p.tlsDir, RunDir: p.runDir, Rate: int64(p.rate),
		MaxGroups: p.maxGroups, MaxMemberships: p.maxMember, Unicast: p.unicast, Downtime: p.downtime, Timeout: p.timeout, NoCompress: p.noZstd,
	}
	var errs [4]error
	cfg.Targets, errs[0] = parseTargets(p.to)
	cfg.Place, errs[1] = parsePairs("place", p.place)
	cfg.Domains, errs[2] = parsePairs("domain", p.domains)
	cfg.GroupBase, errs[3] = parseGroupBase(p.groupBase)
	if err := errors.Join(errs[:]...); err != nil {
		return cfg, &usageError{err}
	}
	if err := p.check(); err != nil {
		return cfg, err
	}
	for i := range cfg.VMs {
		if err := absolute(&cfg.VMs[i]); err != nil {
			return cfg, err
		}
	}
	return cfg, absolute(&cfg.TLSDir, &cfg.RunDir)
}

func (p *planFlags) check() error {
	if err := required("vm or --discover", len(p.vms) > 0 || p.discover != "", "to", len(p.to) > 0,
		"interface", p.iface != "", "tls-dir", p.tlsDir != "", "run-dir", p.runDir != ""); err != nil {
		return err
	}
	switch {
	case len(p.vms) > 0 && p.discover != "":
		return usagef("--vm and --discover exclude each other")
	case p.maxGroups < 1 || p.maxGroups > scatter.MaxGroups:
		return usagef("--max-groups %d: must be 1 to %d; --unicast uses none", p.maxGroups, scatter.MaxGroups)
	case p.maxMember < 1 || p.maxMember > scatter.MaxGroups:
		return usagef("--max-memberships %d: must be 1 to %d; --unicast uses none", p.maxMember, scatter.MaxGroups)
	case p.downtime <= 0:
		return usagef("--downtime %v: must be > 0", p.downtime)
	case p.timeout < 0:
		return usagef("--timeout %v: must not be negative", p.timeout)
	}
	return nil
}

type sendOptions struct {
	planFlags
	parallel   int
	onStall    string
	slowRatio  float64
	verify     bool
	dryRun     bool
	report     string
	keepSource bool
	trace      string
}

func newSend(a *app) *cobra.Command {
	o := &sendOptions{}
	c := &cobra.Command{
		Use:   "send (--vm SOCKET... | --discover GLOB) --to [NAME=]IP:PORT... --interface IF --tls-dir DIR",
		Short: "Evacuate VMs from this host",
		Long: `send live-migrates running VMs of this host to targets where 'scatter recv' runs. A VM runs on this
host until its target has all of it; whatever fails before that leaves it running here.

Ctrl-C cancels: VMs not yet switched over stay. A second one says what stopping at once would cost.`,
		Annotations: exitHelp(
			"0    every VM runs on a target",
			helpUsage,
			"3    some VMs stay on this host, running",
			"4    nothing moved: a blocker was found first",
			"5    a VM is in doubt: run 'scatter recover' on both hosts",
			"130  cancelled; VMs not yet switched over stay on this host, running",
			"else unknown: treat it as 5"),
		Example: `  scatter send --discover '/run/vms/*.qmp' --to beta=10.0.0.2:7400 --to gamma=10.0.0.3:7400 \
      --interface eth1 --tls-dir /etc/scatter/tls`,
		Args: cobra.NoArgs,
		RunE: a.running(slog.LevelError, func(ctx context.Context) error { return o.run(ctx, a) }),
	}
	f := c.Flags()
	o.planFlags.add(f)
	f.IntVar(&o.parallel, "parallel", 2, "VMs in converge at one time")
	f.StringVar(&o.onStall, "on-stall", "keep", "a VM that dirties memory faster than the link carries: `keep|pause`, that is leave it here, or stop it and finish")
	f.Float64Var(&o.slowRatio, "slow-ratio", scatter.DefaultSlowRatio,
		"a target that gets less than this `share` of what the others of a group get leaves it for unicast; 0: it stays")
	f.BoolVar(&o.verify, "verify", false, "compare all RAM of both sides before each VM is handed over; lengthens the pause")
	f.BoolVar(&o.dryRun, "dry-run", false, "stop at the plan and print it")
	f.StringVar(&o.report, "report", "", "write the report as JSON to `file`")
	f.BoolVar(&o.keepSource, "keep-source", false, "leave the QEMUs of moved VMs on this host, paused")
	f.StringVar(&o.trace, "trace", "", "record every decision as JSON lines in `file`")
	return c
}

func (o *sendOptions) config() (scatter.SendConfig, error) {
	cfg, err := o.planFlags.config()
	if err != nil {
		return cfg, err
	}
	cfg.Parallel, cfg.Verify, cfg.KeepSource, cfg.Trace = o.parallel, o.verify, o.keepSource, o.trace
	cfg.OnStall = scatter.OnStall(o.onStall)
	if cfg.SlowRatio = o.slowRatio; o.slowRatio == 0 {
		cfg.SlowRatio = -1 // the engine takes 0 for the default
	}
	switch {
	case !(o.slowRatio >= 0 && o.slowRatio <= 1): // nor NaN
		return cfg, usagef("--slow-ratio %v: must be 0 to 1", o.slowRatio)
	case o.parallel < 1:
		return cfg, usagef("--parallel %d: must be > 0", o.parallel)
	case cfg.OnStall != scatter.StallKeep && cfg.OnStall != scatter.StallPause:
		return cfg, usagef("--on-stall %q: must be keep or pause", o.onStall)
	}
	return cfg, nil
}

func (o *sendOptions) run(ctx context.Context, a *app) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	if o.dryRun {
		return a.plan(ctx, cfg, o.discover, true)
	}
	file, err := newReportFile(o.report)
	if err != nil {
		return usagef("--report: %w", err)
	}
	defer file.discard()
	report, err := evacuate(ctx, a, cfg, o.discover)
	if report != nil {
		if e := errors.Join(a.printReport(report), file.write(report)); e != nil {
			a.say(a.stderr, "report: %v", e) // what happened to the VMs decides the exit status
		}
	}
	return a.sendStatus(report, err)
}

// evacuate runs the engine with the operator's view of it and Ctrl-C attached.
func evacuate(ctx context.Context, a *app, cfg scatter.SendConfig, discover string) (*scatter.Report, error) {
	v := a.newView(true)
	defer v.Close()
	ctx, stop := a.interruptible(ctx, v)
	defer stop()
	if err := findVMs(ctx, &cfg, discover, v.Event); err != nil {
		return nil, err
	}
	cfg.Log, cfg.Events = v.Log, v.Event
	report, err := scatter.Evacuate(ctx, cfg)
	if err == nil && errors.Is(context.Cause(ctx), scatter.ErrCancelled) {
		err = scatter.ErrCancelled
	}
	return report, causeOf(ctx, err)
}

// causeOf gives the operator's cancelling as the reason where an error only says that the context ended.
func causeOf(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), scatter.ErrCancelled) && !errors.Is(err, scatter.ErrCancelled) {
		return fmt.Errorf("%w: %w", scatter.ErrCancelled, err)
	}
	return err
}

// sendStatus decides the exit status of an evacuation. What happened to the VMs weighs more than how the run ended.
func (a *app) sendStatus(report *scatter.Report, err error) error {
	if report == nil || len(report.VMs) == 0 {
		return nothingMoved(err)
	}
	stayed, inDoubt := whereabouts(report)
	status := func(code int, format string, args ...any) error {
		return &statusError{code: code, err: fmt.Errorf(format, args...), stayed: stayed, inDoubt: inDoubt}
	}
	switch {
	case len(inDoubt) > 0:
		return status(exitInDoubt, "in doubt: %s; run 'scatter recover' here and on the target before anything else%s", names(inDoubt), because(err))
	case len(stayed) > 0 && errors.Is(err, scatter.ErrCancelled):
		return status(exitCancelled, "cancelled; still on this host, running: %s", names(stayed))
	case len(stayed) > 0:
		return status(exitSomeStay, "still on this host, running: %s%s", names(stayed), because(err))
	case err != nil:
		a.say(a.stderr, "every VM was evacuated, but: %v", err)
	}
	return nil
}

// nothingMoved is the status of an evacuation that ended before it had anything to report.
func nothingMoved(err error) error {
	switch {
	case err == nil:
		return &statusError{code: exitNothing, err: errors.New("nothing moved: there was nothing to move")}
	case errors.Is(err, scatter.ErrCancelled):
		return &statusError{code: exitCancelled, err: fmt.Errorf("nothing moved: %w", err)}
	}
	if _, ok := errors.AsType[*scatter.BlockedError](err); ok {
		return &statusError{code: exitNothing, err: err}
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	return &statusError{code: exitNothing, err: fmt.Errorf("nothing moved: %w", err)}
}

// whereabouts sorts the VMs that did not leave. A state that is not known counts as not having left.
func whereabouts(r *scatter.Report) (stayed, inDoubt []string) {
	for _, vm := range r.VMs {
		switch vm.State {
		case "evacuated":
		case "in-doubt":
			inDoubt = append(inDoubt, vm.Name)
		default:
			stayed = append(stayed, vm.Name)
		}
	}
	return stayed, inDoubt
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}
