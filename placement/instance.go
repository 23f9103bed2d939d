package placement

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement/hypergraph"
)

// instance is a Problem in the form the search works on. Units, hosts and classes are numbered in an order that depends on
// names alone, so that the order of the input cannot matter.
type instance struct {
	p      *Problem
	hostID []int   // host -> index into Problem.Hosts
	unitOf []int32 // VM -> unit
	units  []unit

	room      []room // of each host
	bps       []int64
	racks     int      // that hosts have
	uplink    []uint16 // the rack of each host, and of limbo; equal to racks if it has none
	floor     int64    // nanoseconds that the source's link takes
	shared    bool
	words     int      // of a host set
	allowed   []uint64 // host sets of the units
	groups    []group
	groupsOf  [][]int32 // unit -> groups
	classes   hypergraph.Graph
	constrain [][]int32 // unit -> constraints that restrict its hosts or made it a unit
	empty     []int32   // units without an allowed host
}

// unit is one VM, or several that an affinity keeps together.
type unit struct {
	vms      []int // indices into Problem.VMs, by name
	claim    int64 // memory it takes on any host: with Shared what no class covers, else all
	own      int64 // bytes of classes that lie within the unit
	vcpus    int64
	count    int // VMs
	priority int
}

// room is what a host offers.
type room struct{ memory, vcpus, vms int64 }

// group is an anti-affinity: at most limit of its units' members in one domain.
type group struct {
	constraint int32
	limit      int64
	domain     []int32         // of each host
	start      []int64         // residents per domain
	weight     map[int32]int64 // unit -> how many of its VMs belong
}

func (in *instance) allows(u int32, h int) bool {
	return in.allowed[int(u)*in.words+h>>6]>>(h&63)&1 != 0
}

// compile checks the problem and brings it into canonical form.
func compile(p *Problem) (*instance, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	in := &instance{p: p, shared: p.Capacity == Shared}
	in.orderHosts()
	r, err := newRules(in)
	if err != nil {
		return nil, err
	}
	in.makeUnits(r)
	in.restrict(r)
	in.gather()
	in.floor = in.sourceTime(nil)
	return in, nil
}

// sourceTime is how long the source sends the classes of all units that are not idle.
func (in *instance) sourceTime(idle []bool) int64 {
	if in.p.SourceBPS == 0 {
		return 0
	}
	leaves := func(u uint16) bool { return idle == nil || !idle[u] }
	var bytes int64
	for u := range in.units {
		if leaves(uint16(u)) {
			bytes += in.units[u].own
		}
	}
	for c, w := range in.classes.Weight {
		if slices.ContainsFunc(in.classes.Pins(int32(c)), leaves) {
			bytes += w
		}
	}
	return sendTime(bytes, in.p.SourceBPS)
}

// orderHosts numbers the hosts by name.
func (in *instance) orderHosts() {
	hosts := in.p.Hosts
	in.hostID = make([]int, len(hosts))
	var fastest int64
	for i := range hosts {
		in.hostID[i] = i
		fastest = max(fastest, hosts[i].LinkBPS)
	}
	slices.SortFunc(in.hostID, func(a, b int) int { return cmp.Compare(hosts[a].Name, hosts[b].Name) })
	for _, id := range in.hostID {
		in.room = append(in.room, roomOn(in.p, &hosts[id]))
		in.bps = append(in.bps, cmp.Or(hosts[id].LinkBPS, fastest, 10e9))
	}
	in.orderRacks()
	in.words = (len(hosts) + 63) / 64
}

// roomOn is what VMs may take on a host.
func roomOn(p *Problem, h *Host) room {
	r := room{h.Memory, orUnlimited(h.VCPUs), orUnlimited(h.MaxVMs)}
	if p.Headroom > 0 {
		r.memory -= int64(math.Ceil(p.Headroom * float64(h.Memory)))
	}
	if p.Overcommit > 0 && h.VCPUs > 0 {
		r.vcpus = int64(math.Min(p.Overcommit*float64(h.VCPUs), unlimited))
	}
	return r
}

// orderRacks numbers the racks by their first host.
func (in *instance) orderRacks() {
	number := map[string]uint16{"": math.MaxUint16}
	for _, id := range in.hostID {
		name := in.p.Hosts[id].Rack
		if _, ok := number[name]; !ok {
			number[name] = uint16(in.racks)
			in.racks++
		}
		in.uplink = append(in.uplink, number[name])
	}
	in.uplink = append(in.uplink, math.MaxUint16)
	for h, rack := range in.uplink {
		in.uplink[h] = min(rack, uint16(in.racks))
	}
}

// domain is what a host is part of for an anti-affinity: itself, or its rack if it has one.
func (in *instance) domain(h int, scope string) int32 {
	if rack := int32(in.uplink[h]); scope == ScopeRack && int(rack) < in.racks {
		return int32(len(in.hostID)) + rack
	}
	return int32(h)
}

func orUnlimited(n int) int64 {
	if n == 0 {
		return unlimited
	}
	return min(int64(n), unlimited)
}

// makeUnits unites the VMs that affinities keep together.
func (in *instance) makeUnits(r *rules) {
	vms := in.p.VMs
	order := make([]int, len(vms))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(vms[a].Name, vms[b].Name) })
	in.unitOf = make([]int32, len(vms))
	byRoot := map[int]int32{}
	for _, v := range order {
		root := r.root(v)
		u, ok := byRoot[root]
		if !ok {
			u = int32(len(in.units))
			byRoot[root] = u
			in.units = append(in.units, unit{priority: math.MinInt})
		}
		in.unitOf[v] = u
		in.units[u].add(v, &vms[v])
	}
}

func (u *unit) add(index int, v *VM) {
	u.vms = append(u.vms, index)
	u.vcpus += int64(v.VCPUs)
	u.count++
	u.priority = max(u.priority, v.Priority)
}

// gather translates the classes to units.
func (in *instance) gather() {
	covered := make([]int64, len(in.p.VMs))
	b := hypergraph.NewBuilder(len(in.units))
	var units []uint16
	for i := range in.p.Classes {
		c := &in.p.Classes[i]
		if c.Bytes == 0 {
			continue
		}
		units = units[:0]
		for _, v := range distinct(c.VMs) {
			covered[v] += c.Bytes
			units = append(units, uint16(in.unitOf[v]))
		}
		b.Add(units, c.Bytes)
	}
	classes, own := b.Build()
	in.classes = classes
	for u := range in.units {
		in.units[u].own = own[u]
	}
	for v, b := range covered {
		memory := in.p.VMs[v].Memory
		if in.shared {
			memory = max(0, memory-b)
		}
		in.units[in.unitOf[v]].claim += memory
	}
}

// distinct lists each VM of a class once. The list is the class's own if it is in order.
func distinct(vms []int) []int {
	if strictlyAscending(vms) {
		return vms
	}
	vms = slices.Clone(vms)
	slices.Sort(vms)
	return slices.Compact(vms)
}

func strictlyAscending(s []int) bool {
	for i := 1; i < len(s); i++ {
		if s[i] <= s[i-1] {
			return false
		}
	}
	return true
}

// sparse returns the instance with the classes lighter than a limit sampled.
func (in *instance) sparse(rng *rand.Rand, limit int64) *instance {
	out := *in
	out.classes = in.classes.Sample(rng, limit)
	return &out
}

// thinning tells below which weight classes should be sampled, and about what a sweep costs then; 0 when it does not pay,
// or when hosts keep classes once, so that room depends on each.
func (in *instance) thinning() (limit int64, sweep int) {
	if in.shared {
		return 0, in.classes.Sweep()
	}
	return in.classes.Thinning()
}
