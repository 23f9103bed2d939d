package flags

import (
	"context"
	"net/netip"
	"path"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/targets"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// Evacuation are the flags that say what is to be moved, to where and how: what a plan depends on.
type Evacuation struct {
	Discover string // glob of QMP sockets

	net       Net
	targets   targets.Flags
	placement placement
	groups    groups
	modes     modes
	vms       []string
	exclude   []string
	allNone   bool
	force     bool
	domains   []string
	downtime  time.Duration
	timeout   time.Duration
	noZstd    bool
	disks     string
}

// Add adds the flags to f.
func (e *Evacuation) Add(f *pflag.FlagSet) {
	e.net.Add(f)
	e.placement.add(f)
	e.groups.add(f)
	e.modes.add(f)
	f.StringArrayVar(&e.vms, "vm", nil, "QMP `socket` of a VM to move; may be repeated")
	f.StringVar(&e.Discover, "discover", "", "move the VMs of all QMP sockets that match `glob`")
	f.StringArrayVar(&e.exclude, "exclude", nil, "leave out VMs by `name|glob`; may be repeated")
	f.BoolVar(&e.allNone, "all-or-none", false, "move nothing if any VM cannot move (default: that VM stays, the others go)")
	f.BoolVar(&e.force, "force", false, "move VMs in spite of the risks that are named; with 'send --plan', execute a plan that does not hold any more, as far as possible")
	e.targets.Add(f, ", required unless --hosts is given")
	f.StringArrayVar(&e.domains, "domain", nil, "share pages of a VM only inside its domain, as `VM=DOMAIN`; may be repeated")
	f.DurationVar(&e.downtime, "downtime", 300*time.Millisecond, "tolerated pause of each VM")
	f.StringVar(&e.disks, "disks", "none", "what becomes of disks that VMs write to: `none|pre|post|auto`, that is they lie on storage that the hosts share; or they travel (raw images), and are all there before a VM runs on its target; or they travel, and a VM that takes over before its memory does so before its disks, too; or those travel so that no target has")
	f.DurationVar(&e.timeout, "timeout", 0, "give up after this time; VMs not yet switched over stay (default: never)")
	f.BoolVar(&e.noZstd, "no-compress", false, "send pages uncompressed")
}

// Config checks the flags, reads the files that they name, and gives the engine's configuration; sockets of --discover are not yet in it. Its
// errors are of type usage.Error.
func (e *Evacuation) Config(ctx context.Context) (scatter.SendConfig, error) {
	cfg := scatter.SendConfig{
		VMs: slices.Clone(e.vms), Interface: e.net.Interface, TLSDir: e.net.TLSDir, RunDir: e.net.RunDir,
		Disks: scatter.Disks(e.disks), Downtime: e.downtime, Timeout: e.timeout, NoCompress: e.noZstd,
		Exclude: e.exclude, AllOrNone: e.allNone, Force: e.force,
		Objective: e.placement.objective, Balance: e.placement.balance.slack, Budget: e.placement.budget, Seed: e.placement.seed, Partial: e.placement.partial,
	}
	if err := e.modes.read(&cfg); err != nil {
		return cfg, err
	}
	var err error
	if cfg.Domains, err = parsePairs("domain", e.domains); err != nil {
		return cfg, &usage.Error{Err: err}
	}
	if cfg.Place, cfg.Rules, err = e.placement.read(); err != nil {
		return cfg, err
	}
	net, err := e.groups.network()
	if err != nil {
		return cfg, err
	}
	cfg.Rate, cfg.GroupBase, cfg.MaxGroups, cfg.MaxMemberships, cfg.Unicast = net.Rate, net.GroupBase, net.MaxGroups, net.MaxMemberships, net.Unicast
	if err := e.check(); err != nil {
		return cfg, err
	}
	var hosts map[string]scatter.HostRules
	if cfg.Targets, hosts, err = e.targets.Read(ctx, scatter.OwnNames(e.net.TLSDir)); err != nil {
		return cfg, err
	}
	cfg.Rules.AddHosts(hosts)
	for i := range cfg.VMs {
		if err := Absolute(&cfg.VMs[i]); err != nil {
			return cfg, err
		}
	}
	return cfg, Absolute(&cfg.TLSDir, &cfg.RunDir)
}

// Live tells whether VMs or targets were named.
func (e *Evacuation) Live() bool { return len(e.vms) > 0 || e.Discover != "" || e.targets.Given() }

// Network checks the flags about groups and the rate, and gives what a plan may use of the network.
func (e *Evacuation) Network() (scatter.Network, error) { return e.groups.network() }

// Override lets the flags about the placement win over what p says. passed names the rules that are about nothing in p. What p cannot satisfy is an
// error.
func (e *Evacuation) Override(p *scatter.Problem) (passed []string, err error) {
	return e.placement.override(p)
}

func (e *Evacuation) check() error {
	if err := Required("vm or --discover", len(e.vms) > 0 || e.Discover != "", "to or --hosts", e.targets.Given(),
		"interface", e.net.Interface != "", "tls-dir", e.net.TLSDir != "", "run-dir", e.net.RunDir != ""); err != nil {
		return err
	}
	switch {
	case len(e.vms) > 0 && e.Discover != "":
		return usage.Errorf("--vm and --discover exclude each other")
	case e.downtime <= 0:
		return usage.Errorf("--downtime %v: must be > 0", e.downtime)
	case !scatter.Disks(e.disks).Valid():
		return usage.Errorf("--disks %q: must be none, pre, post or auto", e.disks)
	case e.timeout < 0:
		return usage.Errorf("--timeout %v: must not be negative", e.timeout)
	}
	for _, pattern := range e.exclude {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return usage.Errorf("--exclude %q: must be a name, or a pattern of names such as 'test-*'", pattern)
		}
	}
	return nil
}

// groups are the flags about what a plan may use of the network.
type groups struct {
	rate        units.Rate
	groupBase   string
	most        int
	memberships int
	unicast     bool
}

func (g *groups) add(f *pflag.FlagSet) {
	f.Var(&g.rate, "rate", "ceiling of everything that is sent, as in 500mbit or 60MB (default: what the link gives)")
	f.StringVar(&g.groupBase, "group-base", "", "first multicast `address` to use, of IPv4 or IPv6 (ff15::77:0) (default: a part of 239.77.0.0/16, another for each evacuation)")
	f.IntVar(&g.most, "max-groups", 64, "sets of targets that get a multicast group at most")
	f.IntVar(&g.memberships, "max-memberships", 16, "groups that a target is a member of at one time, at most")
	f.BoolVar(&g.unicast, "unicast", false, "use no multicast at all")
}

// network checks the flags.
func (g *groups) network() (scatter.Network, error) {
	var base netip.Addr
	var err error
	if g.groupBase != "" {
		base, err = ParseGroupBase(g.groupBase)
	}
	switch {
	case err != nil:
		return scatter.Network{}, &usage.Error{Err: err}
	case g.most < 1 || g.most > scatter.MaxGroups:
		return scatter.Network{}, usage.Errorf("--max-groups %d: must be 1 to %d; --unicast uses none", g.most, scatter.MaxGroups)
	case g.memberships < 1 || g.memberships > scatter.MaxGroups:
		return scatter.Network{}, usage.Errorf("--max-memberships %d: must be 1 to %d; --unicast uses none", g.memberships, scatter.MaxGroups)
	}
	return scatter.Network{Rate: int64(g.rate), GroupBase: base, MaxGroups: g.most, MaxMemberships: g.memberships, Unicast: g.unicast}, nil
}
