package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/discover"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/flagfile"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/flags"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

type sendOptions struct {
	flags.Evacuation
	parallel   int
	slowRatio  float64
	verify     bool
	dryRun     bool
	report     string
	keepSource bool
	trace      string
	plan       string
	save       string
	noGSO      bool
	cpus       int
	prefetch   string
	way        wayFlags
}

// wayFlags say how datagrams go their way.
type wayFlags struct {
	source    string
	groupPort uint16
	mtu       int
	dscp      int
}

func (w *wayFlags) add(f *pflag.FlagSet) {
	f.StringVar(&w.source, "source-address", "", "`address` of this host, on the interface, that all comes from (default: the one that leads to the targets)")
	f.Uint16Var(&w.groupPort, "group-port", scatter.DefaultGroupPort, "UDP `port` of all multicast groups")
}

func (w *wayFlags) addSending(f *pflag.FlagSet) {
	w.add(f)
	f.IntVar(&w.mtu, "mtu", 0, "largest IP packet on the way to the targets, in `bytes` (default: the interface's)")
	f.IntVar(&w.dscp, "dscp", 0, "class of service of all that is sent, `0-63` (RFC 2474)")
}

// local reads the address.
func (w *wayFlags) local() (a netip.Addr, err error) {
	if w.source == "" {
		return a, nil
	}
	if a, err = netip.ParseAddr(w.source); err != nil || a.IsMulticast() || a.IsUnspecified() || a.Zone() != "" {
		return a, usage.Errorf("--source-address %q: want an address of this host, as in 10.0.0.1", w.source)
	}
	return a.Unmap(), nil
}

func newSend(a *app) *cobra.Command {
	o := &sendOptions{}
	c := &cobra.Command{
		Use:   "send (--vm SOCKET... | --discover GLOB) (--to [NAME=]HOST[:PORT]... | --hosts FILE) --interface IF --tls-dir DIR",
		Short: "Evacuate VMs from this host",
		Long: `send live-migrates running VMs of this host to targets where 'scatter recv' runs. A VM runs on this
host until its target has all of it; whatever fails before that leaves it running here.

Ctrl-C cancels: VMs not yet switched over stay. A second one says what stopping at once would cost.`,
		Annotations: exitHelp(
			"0    every VM runs on a target",
			helpUsage,
			"3    some VMs stay on this host, running",
			"4    nothing moved: no VM can, or something hinders all",
			"5    a VM is in doubt: run 'scatter recover' on both hosts",
			"6    a VM has ended by itself, all others run on a target: none is left here",
			"130  cancelled; VMs not yet switched over stay on this host, running",
			"else unknown: treat it as 5"),
		Example: `  scatter send --discover '/run/vms/*.qmp' --to beta=10.0.0.2:7400 --to gamma=10.0.0.3:7400 \
      --interface eth1 --tls-dir /etc/scatter/tls`,
		Args: cobra.NoArgs,
		RunE: a.running(slog.LevelError, func(ctx context.Context) error { return o.run(ctx, a) }),
	}
	f := c.Flags()
	o.Evacuation.Add(f)
	f.IntVar(&o.parallel, "parallel", 2, "VMs in converge at one time")
	f.Float64Var(&o.slowRatio, "slow-ratio", scatter.DefaultSlowRatio,
		"a target that gets less than this `share` of what the others of a group get leaves it for unicast; 0: it stays")
	f.BoolVar(&o.verify, "verify", false, "compare all RAM of both sides before each VM is handed over; lengthens the pause")
	f.BoolVar(&o.dryRun, "dry-run", false, "stop at the plan and print it")
	f.StringVar(&o.save, "save", "", "with --dry-run: keep the plan in `file`, for --plan")
	f.StringVar(&o.report, "report", "", "write the report as JSON to `file`")
	f.BoolVar(&o.keepSource, "keep-source", false, "leave the QEMUs of moved VMs on this host, paused")
	f.StringVar(&o.plan, "plan", "", "execute the plan in `file`, made by 'plan --save' or 'send --dry-run --save', if it still holds")
	o.way.addSending(f)
	f.BoolVar(&o.noGSO, "no-gso", false, "cut datagrams up in scatter instead of the kernel and the network card, for those that do it wrong")
	f.IntVar(&o.cpus, "cpus", 0, "CPUs that scan and compression keep busy at most (default: all)")
	f.StringVar(&o.prefetch, "prefetch", "bubble", "for trials: `none|forward|bubble`, what a VM in post-copy is sent beside the pages that it asks for: what lies behind or around them")
	_ = f.MarkHidden("prefetch") // it is there
	f.StringVar(&o.trace, "trace", "", "record every decision as JSON lines in `file`")
	return c
}

func (o *sendOptions) config(ctx context.Context) (scatter.SendConfig, error) {
	cfg, err := o.Evacuation.Config(ctx)
	if err != nil {
		return cfg, err
	}
	if o.plan != "" {
		if cfg.Plan, err = flagfile.Read("plan", o.plan, scatter.ReadPlan); err != nil {
			return cfg, err
		}
	}
	if cfg.Local, err = o.way.local(); err != nil {
		return cfg, err
	}
	switch {
	case o.cpus < 0:
		return cfg, usage.Errorf("--cpus %d: must be > 0", o.cpus)
	case o.way.mtu != 0 && (o.way.mtu < scatter.MinMTU || o.way.mtu > scatter.MaxMTU):
		return cfg, usage.Errorf("--mtu %d: must be %d to %d", o.way.mtu, scatter.MinMTU, scatter.MaxMTU)
	case o.way.dscp < 0 || o.way.dscp > 63:
		return cfg, usage.Errorf("--dscp %d: must be 0 to 63", o.way.dscp)
	case o.way.groupPort == 0:
		return cfg, usage.Errorf("--group-port 0: must be > 0")
	}
	cfg.GroupPort, cfg.MTU, cfg.DSCP, cfg.NoGSO, cfg.CPUs = o.way.groupPort, o.way.mtu, o.way.dscp, o.noGSO, o.cpus
	cfg.Prefetch = scatter.Prefetch(o.prefetch)
	cfg.Parallel, cfg.Verify, cfg.KeepSource, cfg.Trace = o.parallel, o.verify, o.keepSource, o.trace
	if cfg.SlowRatio = o.slowRatio; o.slowRatio == 0 {
		cfg.SlowRatio = -1 // the engine takes 0 for the default
	}
	switch {
	case !(o.slowRatio >= 0 && o.slowRatio <= 1): // nor NaN
		return cfg, usage.Errorf("--slow-ratio %v: must be 0 to 1", o.slowRatio)
	case !cfg.Prefetch.Valid():
		return cfg, usage.Errorf("--prefetch %q: must be none, forward or bubble", o.prefetch)
	case o.parallel < 1:
		return cfg, usage.Errorf("--parallel %d: must be > 0", o.parallel)
	case cfg.Verify && cfg.MustPostCopy():
		return cfg, usage.Errorf("--verify: a VM in post-copy runs before its memory is there, so there is nothing to compare: it needs --mode auto, pre or throttle, and another --on-stall than post")
	}
	return cfg, nil
}

func (o *sendOptions) run(ctx context.Context, a *app) error {
	cfg, err := o.config(ctx)
	if err != nil {
		return err
	}
	if o.dryRun {
		return o.showPlan(ctx, a, cfg)
	}
	if o.save != "" {
		return usage.Errorf("--save needs --dry-run")
	}
	file, err := flagfile.Create("report", o.report)
	if err != nil {
		return err
	}
	defer file.Discard()
	report, err := evacuate(ctx, a, cfg, o.Discover)
	if report != nil {
		if e := errors.Join(a.printReport(report), file.WriteJSON(report)); e != nil {
			a.say(a.stderr, "report: %v", e) // what happened to the VMs decides the exit status
		}
	}
	return a.sendStatus(report, err)
}

// showPlan stops at the plan, and keeps it if that is wanted.
func (o *sendOptions) showPlan(ctx context.Context, a *app, cfg scatter.SendConfig) error {
	files, err := (&planOptions{save: o.save}).open()
	if err != nil {
		return err
	}
	defer files.discard()
	return a.plan(ctx, cfg, o.Discover, true, files)
}

// evacuate runs the engine with the operator's view of it and Ctrl-C attached.
func evacuate(ctx context.Context, a *app, cfg scatter.SendConfig, glob string) (*scatter.Report, error) {
	v := a.newView(true)
	defer v.Close()
	ctx, stop := a.interruptible(ctx, v)
	defer stop()
	if err := discover.VMs(ctx, &cfg, glob, v.Event); err != nil {
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
	stayed, inDoubt, ended := whereabouts(report)
	status := func(code int, format string, args ...any) error {
		return &statusError{code: code, err: fmt.Errorf(format, args...), stayed: stayed, inDoubt: inDoubt, ended: ended}
	}
	switch {
	case len(inDoubt) > 0:
		return status(exitInDoubt, "in doubt: %s; run 'scatter recover' here and on the target before anything else%s", names(inDoubt), because(err))
	case len(stayed) > 0 && errors.Is(err, scatter.ErrCancelled):
		return status(exitCancelled, "cancelled; still on this host, running: %s", names(stayed))
	case len(stayed) > 0:
		return status(exitSomeStay, "still on this host, running: %s%s", names(stayed), because(err))
	case len(ended) > 0:
		return status(exitEnded, "ended by itself: %s; all others were evacuated%s", names(ended), because(err))
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
	if _, ok := errors.AsType[*usage.Error](err); ok {
		return err
	}
	return &statusError{code: exitNothing, err: fmt.Errorf("nothing moved: %w", err)}
}

// whereabouts sorts the VMs that did not arrive. A state that is not known counts as not having left.
func whereabouts(r *scatter.Report) (stayed, inDoubt, ended []string) {
	for _, vm := range r.VMs {
		switch vm.State {
		case "evacuated":
		case "in-doubt":
			inDoubt = append(inDoubt, vm.Name)
		case "ended":
			ended = append(ended, vm.Name)
		default:
			stayed = append(stayed, vm.Name)
		}
	}
	return stayed, inDoubt, ended
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// names lists VMs in a message.
func names(list []string) string { return strings.Join(list, ", ") }
