// Package planning decides what goes where: it makes the problem that placement solves, the schedule of groups and steps that bulk executes, the
// forecast of what that takes, and the plan that people see, keep and have executed. It does no I/O but to read what it is given.
package planning

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/multicast/groups"
	"github.com/scatter-vm/scatter/scatter/model"
)

// Schedule is what bulk executes.
type Schedule struct {
	Hosts    []string // names, by host index
	host     []int    // by VM, -1 = stays
	classes  []ClassInfo
	Channels []Channel
	Steps    []BulkStep
	EndsAt   map[int][]int // step -> VMs whose last contents it sends; step -1: VMs without any
	Bytes    int64         // of the contents, once per channel that carries them
	Cost     groups.Cost   // of the channels, in bytes of contents

	// Spare is an address behind those of the groups, for one more that all hosts are in beside theirs; invalid: there must not be any.
	Spare netip.AddrPort
}

// Channel is one target set and how it is reached.
type Channel struct {
	ID       uint32
	Hosts    []int // ascending
	Group    netip.AddrPort
	Contents int
	bytes    int64
	copied   int64 // of bytes: other channels carry them to other hosts
	wasted   int64 // that its hosts receive without need, summed over the hosts

	// Channels with the same group follow one another: hosts of both stay joined.
	Lane   int // number of the group's address; -1 = unicast
	Opens  int // channel at whose beginning this one is opened; groups only
	After  int // next channel of the same group, to be open before this one is closed; -1 = none
	joins  int // hosts that join the group for it
	leaves int // hosts that leave the group after it
}

// BulkStep sends contents of one class into one channel.
type BulkStep struct {
	Class    int
	Channel  int
	Part     bool // the channel reaches only some of the class's hosts; other steps reach the rest
	First    int  // of the class's contents
	Contents int
}

// ClassInfo is what the plan needs to know of a class.
type ClassInfo struct {
	VMs      []int
	Contents int
	Bytes    int64
}

// NewSchedule turns a placement (host[vm], -1 = stays) into channels and steps. Sets of several hosts come
// first, each as near as possible to the one before it, so that few hosts join and leave, and woven into them what else the
// first VMs need; then the contents of single hosts, VM by VM in turn over the hosts, so that the first VMs can converge while
// the rest is still being sent.
func NewSchedule(hosts []string, host []int, classes []ClassInfo, order []int, lim GroupLimits) (*Schedule, error) {
	p := &Schedule{Hosts: hosts, host: host, classes: classes, EndsAt: make(map[int][]int)}
	sets := p.targetSets(host, classes)
	if err := p.makeChannels(sets, lim); err != nil {
		return nil, err
	}
	p.makeSteps(sets, classes, order)
	p.weave()
	p.findEnds(host, classes)
	return p, nil
}

// targetSet is the hosts that need some classes.
type targetSet struct {
	hosts    []int
	classes  []int
	bytes    int64
	carriers []int // channels that bring it to its hosts, each once
}

func (p *Schedule) targetSets(host []int, classes []ClassInfo) []targetSet {
	byKey := make(map[string]int)
	var sets []targetSet
	for ci, c := range classes {
		hosts := hostsOf(c.VMs, host)
		if len(hosts) == 0 {
			continue
		}
		key := fmt.Sprint(hosts)
		i, ok := byKey[key]
		if !ok {
			i = len(sets)
			byKey[key] = i
			sets = append(sets, targetSet{hosts: hosts})
		}
		sets[i].classes = append(sets[i].classes, ci)
		sets[i].bytes += c.Bytes
	}
	return sets
}

func hostsOf(vms, host []int) []int {
	var hosts []int
	for _, vm := range vms {
		if h := host[vm]; h >= 0 && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// makeChannels makes the channels of the groups that are to carry the sets, in the order of sending, and one for each
// host that needs anything by itself.
func (p *Schedule) makeChannels(sets []targetSet, lim GroupLimits) error {
	chosen, err := chooseGroups(len(p.Hosts), sets, lim)
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	p.Cost = chosen.Cost
	next, err := p.makeGroups(chosen, lim.Base, cmp.Or(lim.Port, model.DefaultGroupPort))
	if err != nil {
		return err
	}
	most := min(cmp.Or(lim.Memberships, groups.DefaultMemberships), max(lim.Max, groups.DefaultGroups)) // lanes, and as many addresses are ours
	if !lim.None && lim.Max > 0 && next.Addr().IsMulticast() && chosen.Lanes < most {
		p.Spare = next
	}
	alone := slices.Repeat([]int{-1}, len(p.Hosts))
	for _, how := range chosen.Sets {
		for _, h := range how.Copies {
			alone[h] = 0
		}
	}
	for h := range alone {
		if alone[h] == 0 {
			alone[h] = len(p.Channels)
			p.Channels = append(p.Channels, Channel{ID: uint32(len(p.Channels) + 1), Hosts: []int{h}, Lane: -1, After: -1})
		}
	}
	for i, how := range chosen.Sets {
		if how.Group != groups.NoGroup {
			sets[i].carriers = append(sets[i].carriers, how.Group)
		}
		for _, h := range how.Copies {
			sets[i].carriers = append(sets[i].carriers, alone[h])
		}
	}
	return nil
}

// makeGroups makes the groups' channels. Each lane is an address from base on; next is the one behind them.
func (p *Schedule) makeGroups(chosen *groups.Plan, base netip.Addr, port uint16) (next netip.AddrPort, err error) {
	last := slices.Repeat([]int{-1}, chosen.Lanes) // channel, by lane
	var lanes []int                                // in the order of their first groups
	var addresses []netip.Addr
	for i, g := range chosen.Groups {
		n := slices.Index(lanes, g.Lane)
		if n < 0 {
			if !base.IsMulticast() {
				return next, fmt.Errorf("group address %s: not a multicast address (--group-base, --max-memberships)", base)
			}
			n, lanes, addresses, base = len(lanes), append(lanes, g.Lane), append(addresses, base), base.Next()
		}
		if b := last[n]; b >= 0 {
			p.Channels[b].After = i
		}
		last[n] = i
		p.Channels = append(p.Channels, Channel{ID: uint32(i + 1), Hosts: g.Hosts, Group: netip.AddrPortFrom(addresses[n], port),
			Lane: n, wasted: g.Wasted, Opens: g.Opens, After: -1, joins: len(g.Join), leaves: len(g.Leave)})
	}
	return netip.AddrPortFrom(base, port), nil
}

// makeSteps orders the classes: by channel, several VMs before one, then VM by VM.
func (p *Schedule) makeSteps(sets []targetSet, classes []ClassInfo, order []int) {
	rank := make([]int, len(order))
	for i, vm := range order {
		rank[vm] = i
	}
	for _, s := range sets {
		for _, ci := range s.classes {
			for _, ch := range s.carriers {
				p.Steps = append(p.Steps, BulkStep{ci, ch, len(s.carriers) > 1, 0, classes[ci].Contents})
				p.Channels[ch].Contents += classes[ci].Contents
				p.Channels[ch].bytes += classes[ci].Bytes
				if len(s.carriers) > 1 {
					p.Channels[ch].copied += classes[ci].Bytes
				}
				p.Bytes += classes[ci].Bytes
			}
		}
	}
	key := func(s BulkStep) []int {
		c := classes[s.Class]
		multi := len(p.Channels[s.Channel].Hosts) > 1
		return []int{flag(!multi), flag(len(c.VMs) == 1), ifElse(len(c.VMs) == 1, rank[c.VMs[0]], s.Channel), -len(c.VMs), s.Class}
	}
	slices.SortStableFunc(p.Steps, func(a, b BulkStep) int { return slices.Compare(key(a), key(b)) })
}

// Pieces that steps are cut into: few blocks, so that both kinds are under way at all times, and few pieces.
const (
	pieceBlocks = 16
	mostPieces  = 512
)

// woven is how many VMs have all when what several hosts get is sent: no more than converge at one time.
const woven = DefaultParallel

// weave mixes what several hosts get with what a single host gets before the first VMs have all. The first takes
// more of the hosts' processors than of the source's link, for each content is placed by several hosts and for several VMs;
// with the second it is the other way round.
func (p *Schedule) weave() {
	single := slices.IndexFunc(p.Steps, func(s BulkStep) bool { return len(p.Channels[s.Channel].Hosts) == 1 })
	if single <= 0 {
		return
	}
	end := single
	for first := make(map[int]bool); end < len(p.Steps); end++ {
		if vms := p.classes[p.Steps[end].Class].VMs; len(vms) == 1 {
			if first[vms[0]] = true; len(first) > woven {
				break
			}
		}
	}
	a, b := p.Steps[:single], p.Steps[single:end]
	size := BlockContents * max(pieceBlocks, BlocksOf(contentsIn(a)+contentsIn(b))/mostPieces)
	p.Steps = append(merge(cut(a, size), cut(b, size)), p.Steps[end:]...)
}

// cut cuts steps into pieces of at most size contents.
func cut(steps []BulkStep, size int) (pieces []BulkStep) {
	for _, s := range steps {
		for left := s.Contents; left > 0; left -= s.Contents {
			s.Contents = min(left, size)
			pieces = append(pieces, s)
			s.First += s.Contents
		}
	}
	return pieces
}

// merge mixes two lists of steps, each in its order, so that both are at all times done to about the same part. The first begins.
func merge(a, b []BulkStep) (all []BulkStep) {
	left := [2][]BulkStep{a, b}
	total := [2]int{max(1, contentsIn(a)), max(1, contentsIn(b))}
	sent := [2]int{}
	for len(left[0])+len(left[1]) > 0 {
		next := flag(len(left[0]) == 0 || len(left[1]) > 0 && sent[0]*total[1] > sent[1]*total[0])
		s := left[next][0]
		all, left[next], sent[next] = append(all, s), left[next][1:], sent[next]+s.Contents
	}
	return all
}

func contentsIn(steps []BulkStep) (n int) {
	for _, s := range steps {
		n += s.Contents
	}
	return n
}

func flag(b bool) int { return ifElse(b, 1, 0) }

func ifElse(b bool, x, y int) int {
	if b {
		return x
	}
	return y
}

// findEnds notes after which step each VM has got all its contents.
func (p *Schedule) findEnds(host []int, classes []ClassInfo) {
	last := make([]int, len(host))
	for i := range last {
		last[i] = -1
	}
	for i, s := range p.Steps {
		for _, vm := range classes[s.Class].VMs {
			if slices.Contains(p.Channels[s.Channel].Hosts, host[vm]) {
				last[vm] = i
			}
		}
	}
	for vm, i := range last {
		p.EndsAt[i] = append(p.EndsAt[i], vm)
	}
}

// Interleave orders VMs in turn over the hosts.
func Interleave(host []int) []int {
	order := make([]int, 0, len(host))
	turn := make([]int, len(host))
	seen := make(map[int]int)
	for vm, h := range host {
		turn[vm] = seen[h]
		seen[h]++
		order = append(order, vm)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(turn[a], turn[b]), cmp.Compare(host[a], host[b]))
	})
	return order
}

// Limits of one batch: contents that make a block of about 256 KiB, and owners whose pages are
// read and compared at one time.
const (
	BlockContents = 62
)

// BlocksOf is how many blocks so many contents make, unless they have very many owners.
func BlocksOf(contents int) int { return (contents + BlockContents - 1) / BlockContents }

// GroupCount is how many channels go by multicast.
func (p *Schedule) GroupCount() int {
	n := 0
	for _, c := range p.Channels {
		n += flag(c.Group.IsValid())
	}
	return n
}
