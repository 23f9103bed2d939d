package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flags"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/targets"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

type checkOptions struct {
	targets       targets.Flags
	way           wayFlags
	iface, tlsDir string
	groupBase     string
	hold          time.Duration
	qemu          string
}

func newCheck(a *app) *cobra.Command {
	o := &checkOptions{}
	c := &cobra.Command{
		Use:   "check --interface IF [(--to [NAME=]HOST[:PORT]... | --hosts FILE) --tls-dir DIR]",
		Short: "Say whether this host, and the way to others, have what it takes",
		Long: `check looks at this host: privileges, socket buffers, group limits, the interface, QEMU. With --to it dials
targets where 'scatter recv' runs and finds out which datagrams reach them, by groups and by unicast,
small and full ones, and whether the switch floods. Each finding comes with its remedy and names the
setting that is likely wrong. Nothing is changed.

A switch that snoops IGMP without a querier forgets who listens, most after 260 seconds. --hold 5m
waits that long and probes again. A querier that asks meanwhile is found as well.`,
		Annotations: exitHelp(
			"0    nothing hinders an evacuation; there may be warnings",
			"1    an error was found that hinders one",
			helpUsage,
			helpCancelled),
		Example: "  scatter check --interface eth1 --to beta=10.0.0.2:7400 --tls-dir /etc/scatter/tls",
		Args:    cobra.NoArgs,
		RunE:    a.running(slog.LevelWarn, func(ctx context.Context) error { return o.run(ctx, a) }),
	}
	f := c.Flags()
	f.StringVar(&o.iface, "interface", "", "network `interface` that leads to the other hosts (required)")
	f.StringVar(&o.tlsDir, "tls-dir", "", "`directory` of this host's certificates (required with --to)")
	o.targets.Add(f, "")
	f.StringVar(&o.groupBase, "group-base", "239.77.0.0", "first multicast `address` to use, of IPv4 or IPv6 (ff15::77:0)")
	o.way.add(f)
	f.DurationVar(&o.hold, "hold", 0, "probe targets again after this `time`, at most 10m")
	f.StringVar(&o.qemu, "qemu", "", "`path` of the QEMU binary (default: every /usr/bin/qemu-system-*)")
	return c
}

func (o *checkOptions) config(ctx context.Context) (scatter.CheckConfig, error) {
	cfg := scatter.CheckConfig{Interface: o.iface, TLSDir: o.tlsDir, QEMU: o.qemu, Hold: o.hold}
	if err := flags.Required("interface", o.iface != "", "tls-dir", o.tlsDir != "" || !o.targets.Given()); err != nil {
		return cfg, err
	}
	if o.hold < 0 || o.hold > scatter.MaxHold || o.hold > 0 && !o.targets.Given() {
		return cfg, usage.Errorf("--hold %v: must be up to %v, with --to", o.hold, scatter.MaxHold)
	}
	var err error
	if cfg.Targets, _, err = o.targets.Read(ctx, scatter.OwnNames(o.tlsDir)); err != nil {
		return cfg, err
	}
	if cfg.Local, err = o.way.local(); err != nil {
		return cfg, err
	}
	if cfg.GroupPort = o.way.groupPort; cfg.GroupPort == 0 {
		return cfg, usage.Errorf("--group-port 0: must be > 0")
	}
	if cfg.GroupBase, err = flags.ParseGroupBase(o.groupBase); err != nil {
		return cfg, &usage.Error{Err: err}
	}
	return cfg, nil
}

func (o *checkOptions) run(ctx context.Context, a *app) error {
	cfg, err := o.config(ctx)
	if err != nil {
		return err
	}
	v := a.newView(false)
	defer v.Close()
	ctx, stop := a.interruptible(ctx, v)
	defer stop()
	findings, err := scatter.Check(ctx, cfg)
	if e := a.printFindings(findings); err == nil {
		err = e
	}
	if err != nil {
		return causeOf(ctx, err)
	}
	return checkStatus(findings)
}

func checkStatus(findings []scatter.Finding) error {
	bad := 0
	for _, f := range findings {
		if f.Level == "error" {
			bad++
		}
	}
	if bad == 0 {
		return nil
	}
	return fmt.Errorf("check: errors found: %d", bad)
}
