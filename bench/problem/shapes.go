package problem

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/scatter-vm/scatter/placement"
)

// uniform returns n VMs of one GiB in random order and hosts that hold slots of them each.
func uniform(n, hosts, slots int, rng *rand.Rand) (p placement.Problem) {
	for range n {
		p.VMs = append(p.VMs, placement.VM{Memory: gib, VCPUs: 1})
	}
	shuffleNames(&p, rng)
	for i := range hosts {
		p.Hosts = append(p.Hosts, placement.Host{Name: fmt.Sprintf("host%03d", i), Memory: int64(slots) * gib})
	}
	return p
}

// Families makes n equal VMs of k equal families, in random order, that fill the hosts exactly. It returns the best traffic
// too: each family on as few hosts as hold it.
func Families(n, hosts, k int, seed uint64) (p placement.Problem, best int64) {
	slots := n / hosts
	p = uniform(n, hosts, slots, rand.New(rand.NewPCG(seed, 2)))
	members := make([][]int, k)
	for i := range n {
		members[i%k] = append(members[i%k], i)
		p.Classes = append(p.Classes, placement.Class{VMs: []int{i}, Bytes: 100 * mib})
	}
	for _, vms := range members {
		p.Classes = append(p.Classes, placement.Class{VMs: vms, Bytes: 300 * mib})
		best += int64((len(vms)+slots-1)/slots) * 300 * mib
	}
	return p, best + int64(n)*100*mib
}

// Estate makes a fleet of VMs of many sizes on hosts of two, each VM with an operating system and an application, and
// classes of random subsets of those that have one of them in common.
func Estate(n, hosts, classes int, slack float64, seed uint64) placement.Problem {
	rng := rand.New(rand.NewPCG(seed, 3))
	p := placement.Problem{Seed: seed}
	var total, largest int64
	system, app := make([]int, n), make([]int, n)
	for i := range n {
		size := int64(1<<rng.IntN(4)) * gib
		p.VMs = append(p.VMs, placement.VM{Memory: size, VCPUs: 1 + rng.IntN(8)})
		total, largest = total+size, max(largest, size)
		system[i], app[i] = rng.IntN(max(2, n/25)), rng.IntN(max(2, n/6))
	}
	for i := range hosts {
		room := float64(total) / float64(hosts) * (1 + slack) * (0.8 + 0.4*float64(i%2))
		p.Hosts = append(p.Hosts, placement.Host{Name: fmt.Sprintf("host%03d", i), Memory: max(int64(room), 2*largest)})
	}
	bySystem, byApp := gather(system), gather(app)
	for range classes {
		from := bySystem[rng.IntN(len(bySystem))]
		switch rng.IntN(10) {
		case 0:
			from = nil
		case 1, 2, 3, 4, 5:
			from = byApp[rng.IntN(len(byApp))]
		}
		p.Classes = append(p.Classes, someOf(rng, from, n))
	}
	shuffleNames(&p, rng)
	return p
}

// someOf draws owners from a list, or from all n VMs when it is short.
func someOf(rng *rand.Rand, from []int, n int) placement.Class {
	c := placement.Class{Bytes: int64(page * (1 + math.Floor(math.Exp(rng.Float64()*9))))}
	for range min(2+int(rng.ExpFloat64()*6), n) {
		if len(from) > 1 {
			c.VMs = append(c.VMs, from[rng.IntN(len(from))])
		} else {
			c.VMs = append(c.VMs, rng.IntN(n))
		}
	}
	return c
}

// Tiny makes few VMs of odd sizes on few hosts with a tenth of room to spare.
func Tiny(n, hosts int, seed uint64) placement.Problem {
	rng := rand.New(rand.NewPCG(seed, 6))
	p := placement.Problem{Seed: seed}
	var total int64
	for range n {
		size := (1 + rng.Int64N(8)) * gib / 2
		total += size
		p.VMs = append(p.VMs, placement.VM{Memory: size, VCPUs: 1})
	}
	shuffleNames(&p, rng)
	for i := range hosts {
		p.Hosts = append(p.Hosts, placement.Host{Name: fmt.Sprintf("host%d", i), Memory: total/int64(hosts) + total/int64(hosts)/10})
	}
	for range 3 * n {
		p.Classes = append(p.Classes, someOf(rng, nil, n))
	}
	return p
}

// Netlist resembles a circuit: n unit VMs on a plane and classes of 2 to 40 owners, mostly few and near each other.
func Netlist(n, classes, hosts int, slack float64, seed uint64) placement.Problem {
	rng := rand.New(rand.NewPCG(seed, 4))
	p := uniform(n, hosts, roomy(n, hosts, slack), rng)
	side := int(math.Ceil(math.Sqrt(float64(n))))
	for range classes {
		size := min(2+int(rng.ExpFloat64()*rng.ExpFloat64()*2.5), 40)
		x, y := rng.IntN(side), rng.IntN(side)
		reach := 1 + math.Sqrt(float64(size))*(0.5+math.Abs(rng.NormFloat64()))
		if rng.IntN(20) == 0 {
			reach *= 10
		}
		c := placement.Class{Bytes: 1}
		for len(c.VMs) < size {
			i := int(float64(x)+rng.NormFloat64()*reach)*side + int(float64(y)+rng.NormFloat64()*reach)
			if i >= 0 && i < n {
				c.VMs = append(c.VMs, i)
			}
		}
		p.Classes = append(p.Classes, c)
	}
	return p
}

// Mesh is side x side unit VMs, each of which shares a class with each of its neighbours, on two or four hosts. It returns the traffic of straight cuts
// too, which are the best.
func Mesh(side, hosts int) (p placement.Problem, known int64) {
	p = uniform(side*side, hosts, roomy(side*side, hosts, 0.03), rand.New(rand.NewPCG(1, 8)))
	for v := range side * side {
		if v%side+1 < side {
			p.Classes = append(p.Classes, placement.Class{Bytes: 1, VMs: []int{v, v + 1}})
		}
		if v+side < side*side {
			p.Classes = append(p.Classes, placement.Class{Bytes: 1, VMs: []int{v, v + side}})
		}
	}
	return p, int64(len(p.Classes) + hosts/2*side)
}

// roomy is how many of n unit VMs a host holds with some slack.
func roomy(n, hosts int, slack float64) int {
	return int(math.Ceil(float64(n)/float64(hosts)) * (1 + slack))
}

// Planted hides blocks of VMs as large as hosts: most owners of a class are in one of them. It returns the traffic of the
// blocks too.
func Planted(n, classes, hosts int, cross float64, most int, seed uint64) (p placement.Problem, cost int64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	p = uniform(n, hosts, roomy(n, hosts, 0.03), rng)
	block := n / hosts
	for range classes {
		c := placement.Class{Bytes: 1}
		home := rng.IntN(hosts)
		at := map[int]bool{}
		for range 2 + rng.IntN(most-1) {
			v := home*block + rng.IntN(block)
			if rng.Float64() < cross {
				v = rng.IntN(hosts * block)
			}
			at[v/block] = true
			c.VMs = append(c.VMs, v)
		}
		cost += int64(len(at))
		p.Classes = append(p.Classes, c)
	}
	return p, cost
}

// Noise is without any structure: n unit VMs and classes of 2 to 40 random owners.
func Noise(n, classes, hosts int, slack float64, seed uint64) placement.Problem {
	rng := rand.New(rand.NewPCG(seed, 5))
	p := uniform(n, hosts, roomy(n, hosts, slack), rng)
	for range classes {
		c := placement.Class{Bytes: 1 + rng.Int64N(100)}
		for range 2 + rng.IntN(39) {
			c.VMs = append(c.VMs, rng.IntN(n))
		}
		p.Classes = append(p.Classes, c)
	}
	return p
}
