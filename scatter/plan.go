package scatter

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/multicast/groups"
)

// plan is what bulk executes.
type plan struct {
	hosts    []string // names, by host index
	host     []int    // by VM, -1 = stays
	classes  []classInfo
	channels []channel
	steps    []bulkStep
	endsAt   map[int][]int // step -> VMs whose last contents it sends; step -1: VMs without any
	bytes    int64         // of the contents, once per channel that carries them
	cost     groups.Cost   // of the channels, in bytes of contents
}

// channel is one target set and how it is reached.
type channel struct {
	id       uint32
	hosts    []int // ascending
	group    netip.AddrPort
	contents int
	bytes    int64
	copied   int64 // of bytes: other channels carry them to other hosts
	wasted   int64 // that its hosts receive without need, summed over the hosts

	// Channels with the same group follow one another: hosts of both stay joined.
	lane   int // number of the group's address; -1 = unicast
	opens  int // channel at whose beginning this one is opened; groups only
	after  int // next channel of the same group, to be open before this one is closed; -1 = none
	joins  int // hosts that join the group for it
	leaves int // hosts that leave the group after it
}

// bulkStep sends contents of one class into one channel.
type bulkStep struct {
	class    int
	channel  int
	part     bool // the channel reaches only some of the class's hosts; other steps reach the rest
	first    int  // of the class's contents
	contents int
}

func (c channel) multicast(p *plan) multicast.Channel {
	m := multicast.Channel{ID: multicast.ChannelID(c.id), Group: c.group}
	for _, h := range c.hosts {
		m.Members = append(m.Members, p.hosts[h])
	}
	return m
}

// classInfo is what the plan needs to know of a class.
type classInfo struct {
	vms      []int
	contents int
	bytes    int64
}

// newPlan turns a placement (host[vm], -1 = stays) into channels and steps. Sets of several hosts come
// first, each as near as possible to the one before it, so that few hosts join and leave, and woven into them what else the
// first VMs need; then the contents of single hosts, VM by VM in turn over the hosts, so that the first VMs can converge while
// the rest is still being sent.
func newPlan(hosts []string, host []int, classes []classInfo, order []int, lim groupLimits) (*plan, error) {
	p := &plan{hosts: hosts, host: host, classes: classes, endsAt: make(map[int][]int)}
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

func (p *plan) targetSets(host []int, classes []classInfo) []targetSet {
	byKey := make(map[string]int)
	var sets []targetSet
	for ci, c := range classes {
		hosts := hostsOf(c.vms, host)
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
		sets[i].bytes += c.bytes
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
func (p *plan) makeChannels(sets []targetSet, lim groupLimits) error {
	chosen, err := chooseGroups(len(p.hosts), sets, lim)
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	p.cost = chosen.Cost
	if err := p.makeGroups(chosen, lim.base, cmp.Or(lim.port, DefaultGroupPort)); err != nil {
		return err
	}
	alone := slices.Repeat([]int{-1}, len(p.hosts))
	for _, how := range chosen.Sets {
		for _, h := range how.Copies {
			alone[h] = 0
		}
	}
	for h := range alone {
		if alone[h] == 0 {
			alone[h] = len(p.channels)
			p.channels = append(p.channels, channel{id: uint32(len(p.channels) + 1), hosts: []int{h}, lane: -1, after: -1})
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

// makeGroups makes the groups' channels. Each lane is an address from base on.
func (p *plan) makeGroups(chosen *groups.Plan, base netip.Addr, port uint16) error {
	last := slices.Repeat([]int{-1}, chosen.Lanes) // channel, by lane
	var lanes []int                                // in the order of their first groups
	var addresses []netip.Addr
	for i, g := range chosen.Groups {
		n := slices.Index(lanes, g.Lane)
		if n < 0 {
			if !base.IsMulticast() {
				return fmt.Errorf("group address %s: not a multicast address (--group-base, --max-memberships)", base)
			}
			n, lanes, addresses, base = len(lanes), append(lanes, g.Lane), append(addresses, base), base.Next()
		}
		if b := last[n]; b >= 0 {
			p.channels[b].after = i
		}
		last[n] = i
		p.channels = append(p.channels, channel{id: uint32(i + 1), hosts: g.Hosts, group: netip.AddrPortFrom(addresses[n], port),
			lane: n, wasted: g.Wasted, opens: g.Opens, after: -1, joins: len(g.Join), leaves: len(g.Leave)})
	}
	return nil
}

// makeSteps orders the classes: by channel, several VMs before one, then VM by VM.
func (p *plan) makeSteps(sets []targetSet, classes []classInfo, order []int) {
	rank := make([]int, len(order))
	for i, vm := range order {
		rank[vm] = i
	}
	for _, s := range sets {
		for _, ci := range s.classes {
			for _, ch := range s.carriers {
				p.steps = append(p.steps, bulkStep{ci, ch, len(s.carriers) > 1, 0, classes[ci].contents})
				p.channels[ch].contents += classes[ci].contents
				p.channels[ch].bytes += classes[ci].bytes
				if len(s.carriers) > 1 {
					p.channels[ch].copied += classes[ci].bytes
				}
				p.bytes += classes[ci].bytes
			}
		}
	}
	key := func(s bulkStep) []int {
		c := classes[s.class]
		multi := len(p.channels[s.channel].hosts) > 1
		return []int{flag(!multi), flag(len(c.vms) == 1), ifElse(len(c.vms) == 1, rank[c.vms[0]], s.channel), -len(c.vms), s.class}
	}
	slices.SortStableFunc(p.steps, func(a, b bulkStep) int { return slices.Compare(key(a), key(b)) })
}

// Pieces that steps are cut into: few blocks, so that both kinds are under way at all times, and few pieces.
const (
	pieceBlocks = 16
	mostPieces  = 512
)

// woven is how many VMs have all when what several hosts get is sent: no more than converge at one time.
const woven = defaultParallel

// weave mixes what several hosts get with what a single host gets before the first VMs have all. The first takes
// more of the hosts' processors than of the source's link, for each content is placed by several hosts and for several VMs;
// with the second it is the other way round.
func (p *plan) weave() {
	single := slices.IndexFunc(p.steps, func(s bulkStep) bool { return len(p.channels[s.channel].hosts) == 1 })
	if single <= 0 {
		return
	}
	end := single
	for first := make(map[int]bool); end < len(p.steps); end++ {
		if vms := p.classes[p.steps[end].class].vms; len(vms) == 1 {
			if first[vms[0]] = true; len(first) > woven {
				break
			}
		}
	}
	a, b := p.steps[:single], p.steps[single:end]
	size := blockContents * max(pieceBlocks, blocksOf(contentsIn(a)+contentsIn(b))/mostPieces)
	p.steps = append(merge(cut(a, size), cut(b, size)), p.steps[end:]...)
}

// cut cuts steps into pieces of at most size contents.
func cut(steps []bulkStep, size int) (pieces []bulkStep) {
	for _, s := range steps {
		for left := s.contents; left > 0; left -= s.contents {
			s.contents = min(left, size)
			pieces = append(pieces, s)
			s.first += s.contents
		}
	}
	return pieces
}

// merge mixes two lists of steps, each in its order, so that both are at all times done to about the same part. The first begins.
func merge(a, b []bulkStep) (all []bulkStep) {
	left := [2][]bulkStep{a, b}
	total := [2]int{max(1, contentsIn(a)), max(1, contentsIn(b))}
	sent := [2]int{}
	for len(left[0])+len(left[1]) > 0 {
		next := flag(len(left[0]) == 0 || len(left[1]) > 0 && sent[0]*total[1] > sent[1]*total[0])
		s := left[next][0]
		all, left[next], sent[next] = append(all, s), left[next][1:], sent[next]+s.contents
	}
	return all
}

func contentsIn(steps []bulkStep) (n int) {
	for _, s := range steps {
		n += s.contents
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
func (p *plan) findEnds(host []int, classes []classInfo) {
	last := make([]int, len(host))
	for i := range last {
		last[i] = -1
	}
	for i, s := range p.steps {
		for _, vm := range classes[s.class].vms {
			if slices.Contains(p.channels[s.channel].hosts, host[vm]) {
				last[vm] = i
			}
		}
	}
	for vm, i := range last {
		p.endsAt[i] = append(p.endsAt[i], vm)
	}
}

// interleave orders VMs in turn over the hosts.
func interleave(host []int) []int {
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
