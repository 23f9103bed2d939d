package problem

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement"
)

// Limits of a Config.
const (
	MaxVMs     = 10_000
	MaxHosts   = 1_000
	MaxClasses = 1_000_000
)

// Config says which problem to make. The same Config always makes the same one.
type Config struct {
	Profile  string // name of a Profile
	VMs      int
	Hosts    int
	Racks    int     // 0 = none
	Families int     // 0 = as usual for the profile
	Classes  int     // about so many; 0 = 100 for each VM, at most 50,000
	Memory   int64   // bytes of each VM; 0 = a mixture of 1 to 16 GiB
	Slack    float64 // memory of the hosts beyond that of the VMs, as a fraction
	Seed     uint64
}

const (
	page = 4096
	mib  = 1 << 20
	gib  = 1 << 30
)

func (c *Config) validate() error {
	switch {
	case c.VMs < 1 || c.VMs > MaxVMs:
		return fmt.Errorf("%d VMs: must be 1 to %d", c.VMs, MaxVMs)
	case c.Hosts < 1 || c.Hosts > MaxHosts:
		return fmt.Errorf("%d hosts: must be 1 to %d", c.Hosts, MaxHosts)
	case c.Racks < 0 || c.Racks > c.Hosts:
		return fmt.Errorf("%d racks: must be 0 to the number of hosts, %d", c.Racks, c.Hosts)
	case c.Families < 0 || c.Families > c.VMs:
		return fmt.Errorf("%d families: must be 0 to the number of VMs, %d", c.Families, c.VMs)
	case c.Classes < 0 || c.Classes > MaxClasses:
		return fmt.Errorf("%d classes: must be 0 to %d", c.Classes, MaxClasses)
	case c.Memory < 0 || c.Memory > 0 && (c.Memory < mib || c.Memory > 1<<40 || c.Memory%page != 0):
		return fmt.Errorf("memory %d: must be 1 MiB to 1 TiB, in whole pages", c.Memory)
	case !(c.Slack >= 0 && c.Slack <= 100):
		return fmt.Errorf("slack %v: must be 0 to 100", c.Slack)
	}
	return nil
}

// Calibrated makes the problem and says what its VMs' memory is made of; the problem's comment tells it too. Pages of zeros
// and copies within a VM need not be sent: no class has them. The hosts can always take the VMs.
func Calibrated(c Config) (placement.Problem, Fractions, error) {
	if err := c.validate(); err != nil {
		return placement.Problem{}, Fractions{}, err
	}
	profile, err := named(c.Profile)
	if err != nil {
		return placement.Problem{}, Fractions{}, err
	}
	c.Classes = cmp.Or(c.Classes, min(100*c.VMs, 50_000))
	c.Families = cmp.Or(c.Families, min(max(3, c.VMs/profile.perImage), c.VMs))
	f := &fleet{Config: c, profile: profile, rng: rand.New(rand.NewPCG(c.Seed, 1))}
	f.addVMs()
	f.addHosts()
	f.addShared()
	fractions := f.addRest()
	f.p.Seed = c.Seed
	f.p.Comment = fmt.Sprintf("profile %s (%s): %d VMs of %d families, %d hosts, slack %.3g %%, seed %d; of the RAM %v",
		profile.Name, profile.Title, c.VMs, c.Families, c.Hosts, 100*c.Slack, c.Seed, fractions)
	shuffleNames(&f.p, f.rng)
	return f.p, fractions, nil
}

// fleet is a problem in the making.
type fleet struct {
	Config
	profile Profile
	rng     *rand.Rand
	p       placement.Problem
	family  []int   // of each VM
	app     []int   // of each VM
	shared  []int64 // bytes of each VM in classes
	total   int64   // memory of all VMs
}

// appsPerFamily is how many applications run on one operating system image.
const appsPerFamily = 3

// addVMs makes VMs of families of which the first are the largest.
func (f *fleet) addVMs() {
	flavour := make([]int64, f.Families)
	weight := make([]float64, f.Families)
	for i := range flavour {
		flavour[i] = gib << f.rng.IntN(4)
		weight[i] = 1 / math.Sqrt(float64(i+1))
	}
	for i := range f.VMs {
		family := i
		if i >= f.Families {
			family = pick(f.rng, weight)
		}
		memory := flavour[family]
		if f.profile.scale > 1 && f.rng.IntN(2) == 0 {
			memory = int64(f.profile.scale * float64(memory))
		}
		memory = cmp.Or(f.Memory, memory)
		f.family = append(f.family, family)
		f.app = append(f.app, family*appsPerFamily+f.rng.IntN(appsPerFamily))
		f.p.VMs = append(f.p.VMs, placement.VM{Memory: memory, VCPUs: int(max(1, memory/(2*gib)))})
		f.total += memory
	}
	f.shared = make([]int64, f.VMs)
}

// pick draws an index with a probability in proportion to its weight.
func pick(rng *rand.Rand, weight []float64) int {
	var sum float64
	for _, w := range weight {
		sum += w
	}
	x := rng.Float64() * sum
	for i, w := range weight {
		if x -= w; x < 0 {
			return i
		}
	}
	return len(weight) - 1
}

// addHosts makes equal hosts, large enough that handing the VMs out, the largest first, each to the emptiest, succeeds.
func (f *fleet) addHosts() {
	memory, vcpus := handOut(f.p.VMs, f.Hosts)
	memory = max(memory, int64(math.Ceil(float64(f.total)*(1+f.Slack)/float64(f.Hosts))))
	memory = (memory + mib - 1) / mib * mib
	for i := range f.Hosts {
		h := placement.Host{Name: fmt.Sprintf("host%03d", i), Memory: memory, VCPUs: 2 * vcpus, LinkBPS: 10e9}
		if f.Racks > 0 {
			h.Rack = fmt.Sprintf("rack%02d", i*f.Racks/f.Hosts)
		}
		f.p.Hosts = append(f.p.Hosts, h)
	}
}

// handOut tells how much the fullest host gets.
func handOut(vms []placement.VM, hosts int) (memory int64, vcpus int) {
	sizes := slices.Clone(vms)
	slices.SortStableFunc(sizes, func(a, b placement.VM) int { return cmp.Compare(b.Memory, a.Memory) })
	used, cpus := make([]int64, hosts), make([]int, hosts)
	for _, v := range sizes {
		h := slices.Index(used, slices.Min(used))
		used[h] += v.Memory
		cpus[h] += v.VCPUs
	}
	return slices.Max(used), slices.Max(cpus)
}

// addShared makes the classes of several VMs.
func (f *fleet) addShared() {
	of := f.profile
	all := make([]int, f.VMs)
	for i := range all {
		all[i] = i
	}
	for _, l := range []level{
		{gather(f.family), of.System, 0.5, f.someMembers},
		{gather(f.app), of.App, 0.5, f.someMembers},
		{[][]int{all}, of.Anywhere, 0, f.fewMembers},
	} {
		f.addLevel(l, int(l.fraction/of.Shared()*float64(f.Classes)))
	}
}

// level is a way in which VMs share.
type level struct {
	groups   [][]int
	fraction float64 // of their memory
	whole    float64 // part of that which all members of a group have
	draw     func(members []int) (owners []int)
}

// gather lists the indices of each value.
func gather(of []int) [][]int {
	out := make([][]int, slices.Max(of)+1)
	for i, g := range of {
		out[g] = append(out[g], i)
	}
	return out
}

// addLevel makes about n classes.
func (f *fleet) addLevel(l level, n int) {
	for _, members := range l.groups {
		if len(members) < 2 || l.fraction == 0 {
			continue
		}
		var memory int64
		for _, v := range members {
			memory += f.p.VMs[v].Memory
		}
		bytes := l.fraction * float64(memory) // of all copies
		f.addClass(members, l.whole*bytes/float64(len(members)))
		f.addSubsets(members, (1-l.whole)*bytes, max(1, n*len(members)/f.VMs), l.draw)
	}
}

// addSubsets makes n classes of some members with so many bytes in all copies together. Few classes have most of the bytes.
func (f *fleet) addSubsets(members []int, bytes float64, n int, draw func([]int) []int) {
	owners := make([][]int, n)
	weight := make([]float64, n)
	var sum float64
	for i := range owners {
		owners[i], weight[i] = draw(members), math.Exp(6*f.rng.Float64())
		sum += weight[i] * float64(len(owners[i]))
	}
	for i := range owners {
		f.addClass(owners[i], bytes*weight[i]/sum)
	}
}

// someMembers draws each member with a probability that differs from class to class.
func (f *fleet) someMembers(members []int) (owners []int) {
	p := 0.1 + 0.85*f.rng.Float64()
	for _, v := range members {
		if f.rng.Float64() < p {
			owners = append(owners, v)
		}
	}
	if len(owners) < 2 {
		return f.fewMembers(members)
	}
	return owners
}

// fewMembers draws two or more, about fifteen if there are many.
func (f *fleet) fewMembers(members []int) []int {
	owners := make([]int, 2+int(13*f.rng.ExpFloat64()))
	for i := range owners {
		owners[i] = members[f.rng.IntN(len(members))]
	}
	slices.Sort(owners)
	if owners = slices.Compact(owners); len(owners) < 2 {
		return members[:2]
	}
	return owners
}

// addClass rounds bytes to pages, up or down by chance, so that sums come out right. A VM with no memory left is no owner.
func (f *fleet) addClass(owners []int, bytes float64) {
	size := int64(bytes/page+f.rng.Float64()) * page
	owners = slices.DeleteFunc(slices.Clone(owners), func(v int) bool { return f.rest(v) < size })
	if size == 0 || len(owners) < 2 {
		return
	}
	for _, v := range owners {
		f.shared[v] += size
	}
	f.p.Classes = append(f.p.Classes, placement.Class{VMs: owners, Bytes: size})
}

// rest is the memory of a VM that is neither zero, nor a copy, nor in a class.
func (f *fleet) rest(v int) int64 {
	memory := f.p.VMs[v].Memory
	return memory - pages(f.profile.Zero, memory) - pages(f.profile.Intra, memory) - f.shared[v]
}

func pages(fraction float64, memory int64) int64 { return int64(fraction*float64(memory)/page) * page }

// addRest makes the class of each VM alone, and sums up.
func (f *fleet) addRest() Fractions {
	var zero, intra, shared, delta, unique int64
	for v := range f.p.VMs {
		memory, rest := f.p.VMs[v].Memory, f.rest(v)
		close := min(rest, pages(f.profile.Delta, memory))
		zero += pages(f.profile.Zero, memory)
		intra += pages(f.profile.Intra, memory)
		shared, delta, unique = shared+f.shared[v], delta+close, unique+rest-close
		f.p.Classes = append(f.p.Classes, placement.Class{VMs: []int{v}, Bytes: rest})
	}
	part := func(bytes int64) float64 { return float64(bytes) / float64(f.total) }
	return Fractions{part(zero), part(intra), part(shared), part(delta), part(unique)}
}

// shuffleNames gives the VMs names in random order.
func shuffleNames(p *placement.Problem, rng *rand.Rand) {
	for i, j := range rng.Perm(len(p.VMs)) {
		p.VMs[i].Name = fmt.Sprintf("vm%05d", j)
	}
}
