package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/scatter"
)

func newPlan(a *app) *cobra.Command {
	p := &planFlags{}
	c := &cobra.Command{
		Use:   "plan (--vm SOCKET... | --discover GLOB) --to [NAME=]IP:PORT... --interface IF --tls-dir DIR",
		Short: "Say what send would do, and what hinders it",
		Long: `plan runs an evacuation up to the plan, moves nothing, and prints it: which VM goes where and why,
what crosses the network, how long it takes. Every blocker is listed. It reads all the VMs' memory.`,
		Annotations: exitHelp(
			"0    send would start",
			helpUsage,
			"4    blockers were found: send would move nothing",
			helpCancelled),
		Args: cobra.NoArgs,
		RunE: a.running(slog.LevelError, func(ctx context.Context) error {
			cfg, err := p.config()
			if err != nil {
				return err
			}
			return a.plan(ctx, cfg, p.discover, false)
		}),
	}
	p.add(c.Flags())
	return c
}

// plan makes a plan and prints it. With events, the way to it is printed too under --json.
func (a *app) plan(ctx context.Context, cfg scatter.SendConfig, discover string, events bool) error {
	p, err := makePlan(ctx, a, cfg, discover, events)
	blocked, isBlocked := errors.AsType[*scatter.BlockedError](err)
	if err != nil && !isBlocked {
		return nothingMoved(err)
	}
	if p == nil {
		p = &scatter.Plan{Blockers: blocked.Blockers}
	}
	if err := a.printPlan(p); err != nil {
		return err
	}
	if n := len(p.Blockers); n > 0 {
		return &statusError{code: exitNothing, err: fmt.Errorf("blockers: %d; send would move nothing", n), blockers: p.Blockers}
	}
	return nil
}

func makePlan(ctx context.Context, a *app, cfg scatter.SendConfig, discover string, events bool) (*scatter.Plan, error) {
	v := a.newView(events)
	defer v.Close()
	ctx, stop := a.interruptible(ctx, v)
	defer stop()
	if err := findVMs(ctx, &cfg, discover, v.Event); err != nil {
		return nil, err
	}
	cfg.Log, cfg.Events = v.Log, v.Event
	p, err := scatter.MakePlan(ctx, cfg)
	return p, causeOf(ctx, err)
}
