package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/bench/problem"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
)

func newBench(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:         "bench",
		Short:       "Make input for experiments",
		Long:        "bench makes what experiments with plans start from. It touches no VM.",
		Annotations: exitHelp("0    done", helpUsage),
		Args:        cobra.NoArgs,
		RunE:        needsCommand,
	}
	c.AddCommand(newBenchProblem(a))
	return c
}

// problemFlags are those of bench problem.
type problemFlags struct {
	problem.Config
	memory units.Size
	busy   bool
}

func newBenchProblem(a *app) *cobra.Command {
	p := &problemFlags{}
	c := &cobra.Command{
		Use:   "problem --profile A|B|C|D|E [--vms N] [--hosts N]",
		Short: "Print a placement problem that resembles a measured fleet",
		Long: `problem prints, as one JSON object, VMs, hosts and the memory that VMs share. The memory is made up
like that of fleets that were measured:

` + profileHelp() + `
The problem's comment says what all the VMs' memory is made of: zeros, copies within a VM, shared
between VMs, close to another page, unique. The classes are the bytes that have to be sent: the last
three. The same flags print the same problem everywhere.`,
		Annotations: exitHelp("0    the problem is printed", helpUsage),
		Example:     "  scatter bench problem --profile C --vms 100 --hosts 8 --seed 7 > problem.json",
		Args:        cobra.NoArgs,
		RunE:        a.running(slog.LevelWarn, func(context.Context) error { return p.print(a) }),
	}
	f := c.Flags()
	f.StringVar(&p.Profile, "profile", "D", "kind of fleet: `letter` from A to E")
	f.BoolVar(&p.busy, "busy", false, "with profile B: the VMs are busy, few of their pages are zero")
	f.IntVar(&p.VMs, "vms", 100, "`number` of VMs")
	f.IntVar(&p.Hosts, "hosts", 8, "`number` of hosts")
	f.IntVar(&p.Racks, "racks", 0, "`number` of racks that the hosts are in (default none)")
	f.Var(&p.memory, "memory", "`size` of every VM (default a mixture of 1 to 16 GiB)")
	f.IntVar(&p.Families, "families", 0, "`number` of operating system images (default as usual for the profile)")
	f.IntVar(&p.Classes, "classes", 0, "about how many `sets` of VMs share pages (default 100 for each VM, at most 50000)")
	f.Float64Var(&p.Slack, "slack", 0.1, "memory that the hosts have beyond that of the VMs, as a `fraction`")
	f.Uint64Var(&p.Seed, "seed", 1, "`number` that chance starts from")
	return c
}

// profileHelp lists the profiles with what the memory of their VMs is made of.
func profileHelp() string {
	var b strings.Builder
	for _, p := range problem.Profiles {
		name, kind, _ := strings.Cut(p.Name, " ")
		if kind != "" {
			kind = "--" + kind
		}
		fmt.Fprintf(&b, "  %s %-6s  %-31s  %2.0f %% zero, %4.1f %% shared\n", name, kind, p.Title, 100*p.Zero, 100*p.Shared())
	}
	return b.String()
}

func (p *problemFlags) print(a *app) error {
	if p.busy && p.Profile != "B" {
		return usage.Errorf("--busy is for profile B only")
	}
	if p.busy {
		p.Profile = "B busy"
	}
	p.Memory = int64(p.memory)
	made, _, err := problem.Calibrated(p.Config)
	if err != nil {
		return &usage.Error{Err: err}
	}
	return json.NewEncoder(a.stdout).Encode(made)
}
