package model

import (
	"math/bits"
	"slices"
)

// HostSet is a set of hosts, a bit for each.
type HostSet []uint64

// NewHostSet returns the empty set of so many hosts.
func NewHostSet(hosts int) HostSet { return make(HostSet, (hosts+63)/64) }

// AllHosts returns the set of so many hosts.
func AllHosts(hosts int) HostSet {
	s := NewHostSet(hosts)
	for h := range hosts {
		s.Add(h)
	}
	return s
}

// Add puts a host into the set.
func (s HostSet) Add(h int) { s[h>>6] |= 1 << (h & 63) }

// Remove takes a host out of the set.
func (s HostSet) Remove(h int) { s[h>>6] &^= 1 << (h & 63) }

// Has reports whether a host is in the set.
func (s HostSet) Has(h int) bool { return s[h>>6]>>(h&63)&1 != 0 }

// Empty reports whether no host is in the set.
func (s HostSet) Empty() bool {
	return !slices.ContainsFunc(s, func(w uint64) bool { return w != 0 })
}

// Len is the number of hosts in the set.
func (s HostSet) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Within reports whether all hosts of the set are in another.
func (s HostSet) Within(t HostSet) bool {
	for i := range s {
		if s[i]&^t[i] != 0 {
			return false
		}
	}
	return true
}

// Permits says on which hosts each unit may run.
type Permits struct {
	units int
	words int // of a host set
	sets  []uint64
}

// NewPermits lets so many units run on any of the hosts.
func NewPermits(units, hosts int) Permits {
	all := AllHosts(hosts)
	return Permits{units: units, words: len(all), sets: slices.Repeat(all, units)}
}

// Allows reports whether a unit may run on a host.
func (p *Permits) Allows(u int32, h int) bool {
	return p.sets[int(u)*p.words+h>>6]>>(h&63)&1 != 0
}

// HostsFor is the set of hosts on which a unit may run. It is the table's own.
func (p *Permits) HostsFor(u int32) HostSet {
	return p.sets[int(u)*p.words : int(u+1)*p.words]
}

// Narrow confines a unit to those of its hosts that are in a set.
func (p *Permits) Narrow(u int32, set HostSet) {
	mine := p.HostsFor(u)
	for w := range set {
		mine[w] &= set[w]
	}
}

// Homeless is the first unit that may run nowhere; false if there is none.
func (p *Permits) Homeless() (int32, bool) {
	for u := range int32(p.units) {
		if p.HostsFor(u).Empty() {
			return u, true
		}
	}
	return 0, false
}

// confined is a copy that allows hosts of a set only.
func (p *Permits) confined(open HostSet) Permits {
	out := Permits{p.units, p.words, slices.Clone(p.sets)}
	for i := range out.sets {
		out.sets[i] &= open[i%p.words]
	}
	return out
}

// contracted lets each cluster run where all its units may.
func (p *Permits) contracted(cluster []int32, n int) Permits {
	out := Permits{n, p.words, make([]uint64, n*p.words)}
	for i := range out.sets {
		out.sets[i] = ^uint64(0)
	}
	for u, k := range cluster {
		out.Narrow(k, p.HostsFor(int32(u)))
	}
	return out
}
