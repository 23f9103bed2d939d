package source

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
	"github.com/scatter-vm/scatter/scatter/outlet"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Config configures an evacuation on the source.
type Config struct {
	VMs       []string           // QMP sockets of the VMs to move
	Held      []model.Blocker    // VMs of this host that are known to be out of reach, and why: they stay
	Targets   []model.TargetAddr // hosts that may receive
	Interface string             // network interface that leads to the targets
	TLSDir    string             // directory with ca-cert.pem, client-cert.pem, client-key.pem
	RunDir    string             // journal and sockets; default DefaultRunDir
	Rate      int64              // ceiling of everything sent, bytes/s; 0 = find it
	Downtime  time.Duration      // tolerated switch-over pause per VM; default 300 ms
	Parallel  int                // VMs in converge at one time; default 2
	Mode      model.Mode         // default ModeAuto; Rules may say another one of a VM
	OnStall   model.OnStall      // of a VM that does not converge; default StallAny with ModeAuto, else StallKeep
	Throttle  float64            // most of a VM's processor time that may be taken where it may be throttled, of 1; default DefaultThrottle
	Prefetch  model.Prefetch     // in post-copy; default PrefetchBubble
	Disks     model.Disks        // default DisksNone
	Timeout   time.Duration      // of the whole evacuation; 0 = none

	Deadline   time.Duration // after which this host is to be empty; 0 = none
	AtDeadline model.OnStall // what becomes of VMs that have not moved when there is just time enough for it: StallKeep (default), StallPause or StallPost

	Place   map[string]string // VM name -> host name, fixed by the operator
	Rules   planning.Rules    // labels and constraints
	Domains map[string]string // VM name -> dedup domain; pages are shared inside one domain only

	Objective string         // what placement makes small: traffic, makespan or hosts; default traffic
	Capacity  string         // how the VMs' memory counts on a host: sum or shared; default sum. Targets insist on sum
	Balance   float64        // no target gets more than 1 + this times its share of the VMs' memory, by what it has free; 0 = DefaultBalance, negative: what it has room for
	Budget    time.Duration  // for the search of a placement; 0 = as long as pays
	Seed      uint64         // of that search; the same seed gives the same placement
	AllOrNone bool           // move nothing if any VM cannot move; otherwise that VM stays and the others go
	Exclude   []string       // VMs to leave out: their names, or patterns for names as of path.Match
	Partial   bool           // move as many VMs as there is room for, the others stay
	Plan      *planning.Plan // to be executed as it is, if it still holds; nil = a new one is made
	Force     bool           // move VMs in spite of risks (Blocker.Risk); execute Plan even if it does not hold any more, as far as possible

	Outlet *outlet.Outlet // shared with other evacuations of this process, whose rate counts instead of Rate; nil = its own

	GroupBase netip.Addr // first multicast address used; default: one of 239.77.0.0/16, by the evacuation's number
	GroupPort uint16     // UDP port of all groups; default DefaultGroupPort
	MaxGroups int        // target sets that get a multicast group at most; default 64
	Unicast   bool       // use no multicast at all

	Local netip.Addr // address of Interface that all comes from; default: the one that leads to the targets
	MTU   int        // of the way to the targets; 0 = of Interface
	DSCP  int        // of all that is sent, 0 to 63
	NoGSO bool       // cut datagrams up here instead of leaving that to kernel and network card

	// MaxMemberships bounds the groups that a host is a member of at one time, and with them the multicast addresses used;
	// default 16. More than the targets' net.ipv4.igmp_max_memberships, usually 20, does not pay.
	MaxMemberships int

	// SlowRatio is the share of what the other hosts of a group get below which a host leaves it, after a second or two, and
	// gets what it lacks by unicast, while the others do not wait for it; default 0.5, negative: it stays.
	SlowRatio float64

	NoCompress bool   // send blocks uncompressed
	CPUs       int    // that scan and bulk keep busy at most; 0 = all
	Verify     bool   // digest all RAM on both sides before each commit
	KeepSource bool   // leave the source QEMUs paused instead of quitting them
	Trace      string // file that records every engine event and action as JSON lines

	Log    *slog.Logger      // nil discards
	Events func(model.Event) // progress for people and scripts; called from one goroutine, must not block
}

// SetDefaults completes and checks the configuration.
func (c *Config) SetDefaults() error {
	if c.RunDir == "" {
		c.RunDir = model.DefaultRunDir
	}
	if c.Downtime == 0 {
		c.Downtime = 300 * time.Millisecond
	}
	if c.Parallel == 0 {
		c.Parallel = planning.DefaultParallel
	}
	c.Balance = cmp.Or(c.Balance, model.DefaultBalance)
	c.setModeDefaults()
	c.Disks = cmp.Or(c.Disks, model.DisksNone)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := c.setPlanDefaults(); err != nil {
		return err
	}
	switch {
	case len(c.VMs) == 0:
		return errors.New("no VM to move: name at least one QMP socket")
	case len(c.Targets) == 0:
		return errors.New("no target: name at least one host")
	case c.SlowRatio > 1 || c.SlowRatio != c.SlowRatio:
		return fmt.Errorf("slow-ratio %v: must be at most 1", c.SlowRatio)
	case c.Deadline < 0:
		return fmt.Errorf("deadline %v: must be > 0", c.Deadline)
	case c.Rate < 0:
		return fmt.Errorf("rate %d: must be > 0", c.Rate)
	case c.Downtime < 2*modes.FixedPerStop:
		return fmt.Errorf("downtime %v: must be at least %v, which is what a switch-over takes by itself", c.Downtime, 2*modes.FixedPerStop)
	case !c.Disks.Valid():
		return fmt.Errorf("disks %q: must be none, pre, post or auto", c.Disks)
	case c.CPUs < 0:
		return fmt.Errorf("cpus %d: must be > 0", c.CPUs)
	case c.DSCP < 0 || c.DSCP > 63:
		return fmt.Errorf("dscp %d: must be 0 to 63", c.DSCP)
	case c.MTU != 0 && (c.MTU < model.MinMTU || c.MTU > model.MaxMTU):
		return fmt.Errorf("mtu %d: must be %d to %d", c.MTU, model.MinMTU, model.MaxMTU)
	case c.Parallel < 0:
		return fmt.Errorf("parallel %d: must be > 0", c.Parallel)
	case checkPatterns(c.Exclude) != nil:
		return checkPatterns(c.Exclude)
	}
	return c.checkModes()
}

// setPlanDefaults completes and checks what a plan depends on.
func (c *Config) setPlanDefaults() error {
	net := planning.Network{GroupBase: c.GroupBase, MaxGroups: c.MaxGroups, MaxMemberships: c.MaxMemberships}
	err := net.SetDefaults()
	c.GroupBase, c.MaxGroups, c.MaxMemberships = net.GroupBase, net.MaxGroups, net.MaxMemberships
	return err
}

// processors is how many goroutines of this evacuation work at one time.
func (c *Config) processors() int {
	if c.CPUs > 0 {
		return min(c.CPUs, system.Processors)
	}
	return system.Processors
}

// workers scan and make the index.
func (c *Config) workers() dedup.Workers {
	return dedup.Workers{Count: c.processors(), Begin: system.StandBehindGuests}
}

// CoreOptions is what the core needs to know.
func (c *Config) CoreOptions() handover.CoreOptions {
	return handover.CoreOptions{Parallel: c.Parallel, OnStall: c.OnStall, AtDeadline: c.AtDeadline, KeepSource: c.KeepSource}
}
