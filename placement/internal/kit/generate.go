// Package kit is what tests of placement share: problems of many shapes, and a dumb twin that judges placements by trying all.
package kit

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/scatter-vm/scatter/placement/problem"
)

// GiB is as many bytes.
const GiB = 1 << 30

// Uniform returns n VMs of one GiB and hosts that hold slots of them each.
func Uniform(n, hosts int, slots float64) problem.Problem {
	var p problem.Problem
	for i := range n {
		p.VMs = append(p.VMs, problem.VM{Name: fmt.Sprintf("vm%05d", i), Memory: GiB, VCPUs: 1})
	}
	for i := range hosts {
		p.Hosts = append(p.Hosts, problem.Host{Name: fmt.Sprintf("host%03d", i), Memory: int64(slots * GiB)})
	}
	return p
}

// Families returns n VMs of k equal families that fill the hosts exactly, in random order, and the best traffic: each
// family on as few hosts as hold it.
func Families(n, hosts, k int, seed uint64) (p problem.Problem, best int64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	p = Uniform(n, hosts, float64(n)/float64(hosts))
	for f := range k {
		var members []int
		for i := range n {
			if i%k == f {
				members = append(members, i)
			}
		}
		p.Classes = append(p.Classes, problem.Class{VMs: members, Bytes: 300 << 20})
		slots := n / hosts
		best += int64((len(members)+slots-1)/slots) * 300 << 20
	}
	for i := range n {
		p.Classes = append(p.Classes, problem.Class{VMs: []int{i}, Bytes: 100 << 20})
	}
	rename(&p, rng)
	return p, best + int64(n)*100<<20
}

// rename gives the VMs names in random order.
func rename(p *problem.Problem, rng *rand.Rand) {
	for i, j := range rng.Perm(len(p.VMs)) {
		p.VMs[i].Name = fmt.Sprintf("vm%05d", j)
	}
}

// Fleet resembles a real fleet: VMs of many sizes, an operating system and an application each, and classes of
// random subsets within them.
func Fleet(n, hosts, classes int, slack float64, seed uint64) problem.Problem {
	rng := rand.New(rand.NewPCG(seed, 3))
	p := problem.Problem{Seed: seed}
	var total, largest int64
	system, app := make([]int, n), make([]int, n)
	for i := range n {
		size := int64(1<<rng.IntN(4)) * GiB
		p.VMs = append(p.VMs, problem.VM{Name: fmt.Sprint("vm", i), Memory: size, VCPUs: 1 + rng.IntN(8)})
		total, largest = total+size, max(largest, size)
		system[i], app[i] = rng.IntN(max(2, n/25)), rng.IntN(max(2, n/6))
	}
	for i := range hosts {
		room := float64(total) / float64(hosts) * (1 + slack) * (0.8 + 0.4*float64(i%2))
		p.Hosts = append(p.Hosts, problem.Host{Name: fmt.Sprint("host", i), Memory: max(int64(room), 2*largest)})
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
		p.Classes = append(p.Classes, randomClass(rng, from, n))
	}
	rename(&p, rng)
	return p
}

func gather(of []int) [][]int {
	out := make([][]int, 0)
	for i, g := range of {
		for len(out) <= g {
			out = append(out, nil)
		}
		out[g] = append(out[g], i)
	}
	return out
}

// randomClass draws owners from a list, or from all n VMs when it is short.
func randomClass(rng *rand.Rand, from []int, n int) problem.Class {
	size := min(2+int(rng.ExpFloat64()*6), n)
	c := problem.Class{Bytes: int64(4096 * (1 + math.Floor(math.Exp(rng.Float64()*9))))}
	for range size {
		if len(from) > 1 {
			c.VMs = append(c.VMs, from[rng.IntN(len(from))])
		} else {
			c.VMs = append(c.VMs, rng.IntN(n))
		}
	}
	return c
}

// Netlist resembles a circuit: n unit VMs on a plane, classes of 2 to 40 owners, mostly few and near each other.
func Netlist(n, classes, hosts int, slack float64, seed uint64) problem.Problem {
	rng := rand.New(rand.NewPCG(seed, 4))
	p := Uniform(n, hosts, math.Floor(math.Ceil(float64(n)/float64(hosts))*(1+slack)))
	side := int(math.Ceil(math.Sqrt(float64(n))))
	for range classes {
		size := min(2+int(rng.ExpFloat64()*rng.ExpFloat64()*2.5), 40)
		x, y := rng.IntN(side), rng.IntN(side)
		reach := 1 + math.Sqrt(float64(size))*(0.5+math.Abs(rng.NormFloat64()))
		if rng.IntN(20) == 0 {
			reach *= 10
		}
		c := problem.Class{Bytes: 1}
		for len(c.VMs) < size {
			i := int(float64(x)+rng.NormFloat64()*reach)*side + int(float64(y)+rng.NormFloat64()*reach)
			if i >= 0 && i < n {
				c.VMs = append(c.VMs, i)
			}
		}
		p.Classes = append(p.Classes, c)
	}
	rename(&p, rng)
	return p
}

// Mesh is side x side unit VMs, each of which shares a class with each of its neighbours. Straight lines cut it best.
func Mesh(side, hosts int) problem.Problem {
	p := Uniform(side*side, hosts, math.Floor(math.Ceil(float64(side*side)/float64(hosts))*1.03))
	for v := range side * side {
		if v%side+1 < side {
			p.Classes = append(p.Classes, problem.Class{Bytes: 1, VMs: []int{v, v + 1}})
		}
		if v+side < side*side {
			p.Classes = append(p.Classes, problem.Class{Bytes: 1, VMs: []int{v, v + side}})
		}
	}
	rename(&p, rand.New(rand.NewPCG(1, 8)))
	return p
}

// RandomNets is a hypergraph without any structure.
func RandomNets(n, classes, hosts int, slack float64, seed uint64) problem.Problem {
	rng := rand.New(rand.NewPCG(seed, 5))
	p := Uniform(n, hosts, math.Floor(math.Ceil(float64(n)/float64(hosts))*(1+slack)))
	for range classes {
		size := 2 + rng.IntN(39)
		c := problem.Class{Bytes: 1 + rng.Int64N(100)}
		for range size {
			c.VMs = append(c.VMs, rng.IntN(n))
		}
		p.Classes = append(p.Classes, c)
	}
	return p
}

// Tight has few VMs of odd sizes on few hosts with little room to spare.
func Tight(n, hosts int, seed uint64) problem.Problem {
	rng := rand.New(rand.NewPCG(seed, 6))
	p := problem.Problem{Seed: seed}
	var total int64
	for i := range n {
		size := (1 + rng.Int64N(8)) * GiB / 2
		total += size
		p.VMs = append(p.VMs, problem.VM{Name: fmt.Sprint("vm", i), Memory: size, VCPUs: 1})
	}
	for i := range hosts {
		p.Hosts = append(p.Hosts, problem.Host{Name: fmt.Sprint("host", i), Memory: total/int64(hosts) + total/int64(hosts)/10})
	}
	for range 3 * n {
		p.Classes = append(p.Classes, randomClass(rng, nil, n))
	}
	return p
}

// Planted has blocks of VMs as large as hosts; most classes lie within one. It returns the traffic of the blocks.
func Planted(n, classes, hosts int, cross float64, most int, seed uint64) (p problem.Problem, cost int64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	p = Uniform(n, hosts, math.Floor(math.Ceil(float64(n)/float64(hosts))*1.03))
	block := n / hosts
	for range classes {
		c := problem.Class{Bytes: 1}
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
	rename(&p, rng)
	return p, cost
}
