package main

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement"
)

// rule places VMs one after the other, as simple tools do.
type rule struct {
	name  string
	runs  int // of which the mean counts; more than one where chance decides
	place func(f *filling, order []int)
}

// Rules are what scatter is compared with. VMs come in random order, except that best fit and greedy take the largest first.
var rules = []rule{
	{"random", 20, func(f *filling, order []int) {
		for _, v := range order {
			f.putFirst(v, f.rng.Perm(len(f.p.Hosts)))
		}
	}},
	{"round-robin", 20, func(f *filling, order []int) {
		for i, v := range order {
			f.putFirst(v, f.from(i%len(f.p.Hosts)))
		}
	}},
	{"first-fit", 20, func(f *filling, order []int) {
		for _, v := range order {
			f.putFirst(v, f.from(0))
		}
	}},
	{"best-fit", 1, func(f *filling, order []int) {
		for _, v := range f.largestFirst(order) {
			f.putBest(v, func(h int) int64 { return -f.memory[h] })
		}
	}},
	{"greedy", 1, func(f *filling, order []int) {
		for _, v := range f.largestFirst(order) {
			f.putBest(v, func(h int) int64 { return f.overlap(v, h) })
		}
	}},
}

// filling is hosts that are being filled.
type filling struct {
	p       *placement.Problem
	rng     *rand.Rand
	owned   [][]int32 // classes of each VM
	host    []int     // of each VM, -1 = none
	memory  []int64   // free, of each host
	vcpus   []int
	present []map[int32]bool // classes on each host
	left    int              // VMs that found no room
}

func newFilling(p *placement.Problem, seed uint64) *filling {
	f := &filling{p: p, rng: rand.New(rand.NewPCG(seed, 99)), owned: make([][]int32, len(p.VMs)), host: slices.Repeat([]int{-1}, len(p.VMs))}
	for c, k := range p.Classes {
		owners := slices.Clone(k.VMs)
		slices.Sort(owners)
		for _, v := range slices.Compact(owners) {
			f.owned[v] = append(f.owned[v], int32(c))
		}
	}
	for _, h := range p.Hosts {
		f.memory, f.vcpus = append(f.memory, h.Memory), append(f.vcpus, h.VCPUs)
		f.present = append(f.present, map[int32]bool{})
	}
	return f
}

// from is all hosts, beginning with one.
func (f *filling) from(h int) []int {
	hosts := make([]int, len(f.p.Hosts))
	for i := range hosts {
		hosts[i] = (h + i) % len(hosts)
	}
	return hosts
}

func (f *filling) largestFirst(order []int) []int {
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(f.p.VMs[b].Memory, f.p.VMs[a].Memory) })
	return order
}

func (f *filling) fits(v, h int) bool {
	return f.p.VMs[v].Memory <= f.memory[h] && (f.p.Hosts[h].VCPUs == 0 || f.p.VMs[v].VCPUs <= f.vcpus[h])
}

func (f *filling) put(v, h int) {
	f.host[v] = h
	f.memory[h] -= f.p.VMs[v].Memory
	f.vcpus[h] -= f.p.VMs[v].VCPUs
	for _, c := range f.owned[v] {
		f.present[h][c] = true
	}
}

// putFirst puts a VM on the first host that has room.
func (f *filling) putFirst(v int, hosts []int) {
	for _, h := range hosts {
		if f.fits(v, h) {
			f.put(v, h)
			return
		}
	}
	f.left++
}

// putBest puts a VM on the host with room that is worth most, on the emptiest of these.
func (f *filling) putBest(v int, worth func(h int) int64) {
	best, most := -1, int64(0)
	for h := range f.p.Hosts {
		if !f.fits(v, h) {
			continue
		}
		if w := worth(h); best < 0 || w > most || w == most && f.memory[h] > f.memory[best] {
			best, most = h, w
		}
	}
	if best < 0 {
		f.left++
		return
	}
	f.put(v, best)
}

// overlap is the bytes of a VM that a host needs already.
func (f *filling) overlap(v, h int) (bytes int64) {
	for _, c := range f.owned[v] {
		if f.present[h][c] {
			bytes += f.p.Classes[c].Bytes
		}
	}
	return bytes
}

// traffic is the bytes of classes times the hosts that need them.
func (f *filling) traffic() (bytes int64) {
	for h := range f.present {
		for c := range f.present[h] {
			bytes += f.p.Classes[c].Bytes
		}
	}
	return bytes
}

// cost is the mean traffic of a rule's runs in which all VMs found room; false if there was none.
func (r *rule) cost(p *placement.Problem) (mean float64, fits bool) {
	var sum float64
	n := 0
	for run := range r.runs {
		f := newFilling(p, uint64(run+1))
		r.place(f, f.rng.Perm(len(p.VMs)))
		if f.left == 0 {
			sum += float64(f.traffic())
			n++
		}
	}
	return sum / float64(max(n, 1)), n > 0
}
