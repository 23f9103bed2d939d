package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/scatter"
)

// planFlags are what a plan depends on; send has them too.
type planFlags struct {
	netFlags
	targetFlags
	placementFlags
	groupFlags
	vms      []string
	discover string
	exclude  []string
	allNone  bool
	force    bool
	domains  []string
	downtime time.Duration
	timeout  time.Duration
	noZstd   bool
}

func (p *planFlags) add(f *pflag.FlagSet) {
	p.netFlags.add(f)
	p.placementFlags.add(f)
	p.groupFlags.add(f)
	f.StringArrayVar(&p.vms, "vm", nil, "QMP `socket` of a VM to move; may be repeated")
	f.StringVar(&p.discover, "discover", "", "move the VMs of all QMP sockets that match `glob`")
	f.StringArrayVar(&p.exclude, "exclude", nil, "leave out VMs by `name|glob`; may be repeated")
	f.BoolVar(&p.allNone, "all-or-none", false, "move nothing if any VM cannot move (default: that VM stays, the others go)")
	f.BoolVar(&p.force, "force", false, "move VMs in spite of the risks that are named; with 'send --plan', execute a plan that does not hold any more, as far as possible")
	p.targetFlags.add(f, ", required unless --hosts is given")
	f.StringArrayVar(&p.domains, "domain", nil, "share pages of a VM only inside its domain, as `VM=DOMAIN`; may be repeated")
	f.DurationVar(&p.downtime, "downtime", 300*time.Millisecond, "tolerated pause of each VM")
	f.DurationVar(&p.timeout, "timeout", 0, "give up after this time; VMs not yet switched over stay (default: never)")
	f.BoolVar(&p.noZstd, "no-compress", false, "send pages uncompressed")
}

// config checks the flags and gives the engine's configuration; sockets of --discover are not yet in it.
func (p *planFlags) config(ctx context.Context) (scatter.SendConfig, error) {
	cfg := scatter.SendConfig{
		VMs: slices.Clone(p.vms), Interface: p.iface, TLSDir: p.tlsDir, RunDir: p.runDir,
		Downtime: p.downtime, Timeout: p.timeout, NoCompress: p.noZstd,
		Exclude: p.exclude, AllOrNone: p.allNone, Force: p.force,
		Objective: p.objective, Balance: p.balance.slack, Budget: p.budget, Seed: p.seed, Partial: p.partial,
	}
	var err error
	if cfg.Domains, err = parsePairs("domain", p.domains); err != nil {
		return cfg, &usageError{err}
	}
	if cfg.Place, cfg.Rules, err = p.placementFlags.read(); err != nil {
		return cfg, err
	}
	net, err := p.network()
	if err != nil {
		return cfg, err
	}
	cfg.Rate, cfg.GroupBase, cfg.MaxGroups, cfg.MaxMemberships, cfg.Unicast = net.Rate, net.GroupBase, net.MaxGroups, net.MaxMemberships, net.Unicast
	if err := p.check(); err != nil {
		return cfg, err
	}
	targets, hosts, err := p.targetFlags.read(ctx, scatter.OwnNames(p.tlsDir))
	if err != nil {
		return cfg, err
	}
	cfg.Targets = targets
	cfg.Rules.AddHosts(hosts)
	for i := range cfg.VMs {
		if err := absolute(&cfg.VMs[i]); err != nil {
			return cfg, err
		}
	}
	return cfg, absolute(&cfg.TLSDir, &cfg.RunDir)
}

func (p *planFlags) check() error {
	if err := required("vm or --discover", len(p.vms) > 0 || p.discover != "", "to or --hosts", p.targetFlags.given(),
		"interface", p.iface != "", "tls-dir", p.tlsDir != "", "run-dir", p.runDir != ""); err != nil {
		return err
	}
	switch {
	case len(p.vms) > 0 && p.discover != "":
		return usagef("--vm and --discover exclude each other")
	case p.downtime <= 0:
		return usagef("--downtime %v: must be > 0", p.downtime)
	case p.timeout < 0:
		return usagef("--timeout %v: must not be negative", p.timeout)
	}
	for _, pattern := range p.exclude {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return usagef("--exclude %q: must be a name, or a pattern of names such as 'test-*'", pattern)
		}
	}
	return nil
}

// groupFlags are what a plan may use of the network.
type groupFlags struct {
	rate        rateFlag
	groupBase   string
	groups      int
	memberships int
	unicast     bool
}

func (g *groupFlags) add(f *pflag.FlagSet) {
	f.Var(&g.rate, "rate", "ceiling of everything that is sent, as in 500mbit or 60MB (default: what the link gives)")
	f.StringVar(&g.groupBase, "group-base", "", "first multicast `address` to use, of IPv4 or IPv6 (ff15::77:0) (default: a part of 239.77.0.0/16, another for each evacuation)")
	f.IntVar(&g.groups, "max-groups", 64, "sets of targets that get a multicast group at most")
	f.IntVar(&g.memberships, "max-memberships", 16, "groups that a target is a member of at one time, at most")
	f.BoolVar(&g.unicast, "unicast", false, "use no multicast at all")
}

// network checks the flags.
func (g *groupFlags) network() (scatter.Network, error) {
	var base netip.Addr
	var err error
	if g.groupBase != "" {
		base, err = parseGroupBase(g.groupBase)
	}
	switch {
	case err != nil:
		return scatter.Network{}, &usageError{err}
	case g.groups < 1 || g.groups > scatter.MaxGroups:
		return scatter.Network{}, usagef("--max-groups %d: must be 1 to %d; --unicast uses none", g.groups, scatter.MaxGroups)
	case g.memberships < 1 || g.memberships > scatter.MaxGroups:
		return scatter.Network{}, usagef("--max-memberships %d: must be 1 to %d; --unicast uses none", g.memberships, scatter.MaxGroups)
	}
	return scatter.Network{Rate: int64(g.rate), GroupBase: base, MaxGroups: g.groups, MaxMemberships: g.memberships, Unicast: g.unicast}, nil
}

// placementFlags say where VMs may go and what is to be kept small.
type placementFlags struct {
	place       []string
	constraints string
	objective   string
	balance     balanceFlag
	budget      time.Duration
	seed        uint64
	partial     bool
}

// balanceFlag is how much more than its share a target may get: a number, "off", or what is usual.
type balanceFlag struct {
	slack float64 // negative: off
	given bool
}

func (b *balanceFlag) Set(s string) error {
	b.given, b.slack = true, -1
	if s == "off" {
		return nil
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n <= 1000) {
		return errors.New("must be above 0 and at most 1000, or off")
	}
	b.slack = n
	return nil
}

func (b *balanceFlag) String() string {
	switch {
	case b.slack < 0:
		return "off"
	case b.slack == 0:
		return ""
	}
	return strconv.FormatFloat(b.slack, 'g', -1, 64)
}

func (b *balanceFlag) Type() string { return "share|off" }

func (p *placementFlags) add(f *pflag.FlagSet) {
	f.StringArrayVar(&p.place, "place", nil, "put a VM on a certain target, as `VM=HOST`; may be repeated")
	f.StringVar(&p.constraints, "constraints", "", "TOML or JSON `file` with labels of VMs and hosts, and constraints on the placement")
	f.StringVar(&p.objective, "objective", "", "what the placement is to make small: `traffic|makespan|hosts` (default: traffic)")
	f.Var(&p.balance, "balance", fmt.Sprintf("let no target get more than 1 + this times its `share` of the VMs' memory, by what it has free; off: as much as it has room for (default: %v, or what --problem says)", scatter.DefaultBalance))
	f.DurationVar(&p.budget, "budget", 0, "how long to search for a placement, on one core (default: as long as pays)")
	f.Uint64Var(&p.seed, "seed", 0, "`number` that the search begins with; the same gives the same placement")
	f.BoolVar(&p.partial, "partial", false, "move as many VMs as there is room for; the others stay")
}

// maxBudget bounds a search.
const maxBudget = 24 * time.Hour

// read checks the flags, and reads the file.
func (p *placementFlags) read() (place map[string]string, rules scatter.Rules, err error) {
	if place, err = parsePairs("place", p.place); err != nil {
		return nil, rules, &usageError{err}
	}
	switch {
	case !slices.Contains([]string{"", scatter.ObjectiveTraffic, scatter.ObjectiveMakespan, scatter.ObjectiveHosts}, p.objective):
		return nil, rules, usagef("--objective %q: must be traffic, makespan or hosts", p.objective)
	case p.budget < 0 || p.budget > maxBudget:
		return nil, rules, usagef("--budget %v: must be 0 to %v", p.budget, maxBudget)
	case p.constraints == "":
		return place, rules, nil
	}
	read := readTOMLRules
	if filepath.Ext(p.constraints) == ".json" {
		read = scatter.ReadRules
	}
	rules, err = readFile("constraints", p.constraints, read)
	return place, rules, err
}

// readTOMLRules reads rules as TOML: the same tables as JSON has objects.
func readTOMLRules(r io.Reader) (scatter.Rules, error) {
	var tables map[string]any
	if _, err := decodeTOML(r, &tables); err != nil {
		return scatter.Rules{}, err
	}
	return scatter.RulesOf(tables)
}
