package anneal

import (
	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// measure turns resources into fractions of what a mean unit takes.
type measure struct{ memory, vcpus, vms float64 }

// excess is by how many mean units a host is overfull.
type excess = float64

func meanUnit(units []model.Unit) measure {
	var memory, vcpus, vms int64
	for i := range units {
		u := &units[i]
		memory, vcpus, vms = memory+u.Claim+u.Own, vcpus+u.VCPUs, vms+int64(u.Count)
	}
	per := func(sum int64) float64 { return float64(len(units)) / float64(max(sum, 1)) }
	return measure{per(memory), per(vcpus), per(vms)}
}

// beyond is the excess of a host after a change.
func (a *Annealing) beyond(h int, c assign.Change) (x excess) {
	r, l := &a.In.Room[h], &a.Loads[h]
	if memory := a.UsedAfter(h, c); memory > r.Memory {
		x += float64(memory-r.Memory) * a.unit.memory
	}
	if v := l.VCPUs + c.VCPUs; v > r.VCPUs {
		x += float64(v-r.VCPUs) * a.unit.vcpus
	}
	if v := l.VMs + c.VMs; v > r.VMs {
		x += float64(v-r.VMs) * a.unit.vms
	}
	return x
}

// setExcess notes the excess of a host.
func (a *Annealing) setExcess(h int, x excess) {
	if a.excess[h] > 0 {
		a.over--
	}
	if x > 0 {
		a.over++
	}
	a.excess[h] = x
}
