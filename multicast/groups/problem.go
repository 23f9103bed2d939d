package groups

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Bounds of a problem. Zero Limits mean the defaults.
const (
	MaxHosts  = 1 << 12
	MaxSets   = 1 << 20
	MaxGroups = 1 << 12
	MaxChange = 1 << 36 // price

	DefaultGroups      = 64
	DefaultMemberships = 16
)

// Problem is what is to be sent to whom.
type Problem struct {
	Hosts  int // hosts are 0 .. Hosts-1
	Sets   []Set
	Limits Limits
	Prices Prices
	Delay  Delay
	Seed   uint64
	Effort int // how long to search, as a multiple of the usual; 0 = 1

	// Keep, unless empty, is the groups of an earlier plan, in the order of sending: they are used instead of chosen ones. Those
	// that no set is carried by any more are left out.
	Keep []Kept
}

// Kept is a group that is not to be chosen anew.
type Kept struct {
	Hosts []int // each once
	Lane  int   // groups with the same number share an address
}

// Set is a target set: bytes that all of its hosts need.
type Set struct {
	Hosts []int // at least one, each once
	Bytes int64
}

// Limits bounds what is used of multicast.
type Limits struct {
	Groups      int // in all; 0 = DefaultGroups
	Memberships int // of a host at one time; 0 = DefaultMemberships
}

// Prices weighs what a plan uses. Source and Host both zero means one each.
type Prices struct {
	Source int64 // of a byte on the source's link
	Host   int64 // of a byte on a host's link
	Change int64 // of a join, and of a leave
}

// Delay is how long membership takes to change, in bytes that the source sends meanwhile.
type Delay struct {
	Join  int64 // from the request to the first datagram
	Leave int64 // from the end of the last group that is needed to the last datagram
}

// withDefaults fills in what was left zero.
func (p Problem) withDefaults() Problem {
	p.Limits.Groups = cmp.Or(p.Limits.Groups, DefaultGroups)
	p.Limits.Memberships = cmp.Or(p.Limits.Memberships, DefaultMemberships)
	p.Effort = cmp.Or(p.Effort, 1)
	if p.Prices.Source == 0 && p.Prices.Host == 0 {
		p.Prices.Source, p.Prices.Host = 1, 1
	}
	return p
}

// maxCost bounds every sum of costs.
const maxCost = math.MaxInt64 / 16

func (p *Problem) validate() error {
	for _, n := range []struct {
		name       string
		value      int64
		least, top int64
	}{
		{"hosts", int64(p.Hosts), 0, MaxHosts},
		{"sets", int64(len(p.Sets)), 0, MaxSets},
		{"limit of groups", int64(p.Limits.Groups), 1, MaxGroups},
		{"limit of memberships", int64(p.Limits.Memberships), 1, MaxGroups},
		{"price of a source's byte", p.Prices.Source, 0, 1 << 20},
		{"price of a host's byte", p.Prices.Host, 0, 1 << 20},
		{"price of a change", p.Prices.Change, 0, MaxChange},
		{"delay of a join", p.Delay.Join, 0, 1 << 44},
		{"delay of a leave", p.Delay.Leave, 0, 1 << 44},
		{"effort", int64(p.Effort), 1, 1 << 20},
	} {
		if n.value < n.least || n.value > n.top {
			return fmt.Errorf("%s %d: must be %d to %d", n.name, n.value, n.least, n.top)
		}
	}
	if err := p.validateKept(); err != nil {
		return err
	}
	return p.validateSets()
}

func (p *Problem) validateKept() error {
	lanes := make(map[int]bool)
	for i, k := range p.Keep {
		seen := make(map[int]bool)
		for _, h := range k.Hosts {
			if h < 0 || h >= p.Hosts || seen[h] {
				return fmt.Errorf("kept group %d: host %d: unknown, or named twice", i, h)
			}
			seen[h] = true
		}
		lanes[k.Lane] = true
	}
	if len(p.Keep) > p.Limits.Groups || len(lanes) > p.Limits.Memberships {
		return fmt.Errorf("%d kept groups in %d lanes: more than the limits of %d and %d", len(p.Keep), len(lanes), p.Limits.Groups, p.Limits.Memberships)
	}
	return nil
}

func (p *Problem) validateSets() error {
	seen := newHostset(p.Hosts)
	worth := float64(p.Prices.Source+p.Prices.Host) * float64(p.Hosts+1)
	total := worth * float64(p.Delay.Join) * MaxGroups
	for i, s := range p.Sets {
		clear(seen)
		for _, h := range s.Hosts {
			if h < 0 || h >= p.Hosts || seen.has(h) {
				return fmt.Errorf("set %d: host %d: unknown, or named twice", i, h)
			}
			seen.add(h)
		}
		if len(s.Hosts) == 0 || s.Bytes < 0 {
			return fmt.Errorf("set %d: %d bytes for %d hosts", i, s.Bytes, len(s.Hosts))
		}
		if total += worth * float64(s.Bytes); total > maxCost {
			return fmt.Errorf("set %d: more bytes in all than can be priced", i)
		}
	}
	return nil
}

// instance is a problem as the search sees it: distinct sets of at least two hosts, those that gain most by multicast
// first.
type instance struct {
	*Problem
	sets   []target
	nobody hostset
}

// target is a distinct target set.
type target struct {
	hosts   hostset
	list    []int // the same
	bytes   int64
	members []int // of Problem.Sets
}

// gain is what a group of its own spares, over unicast.
func (t *target) gain() int64 { return t.bytes * int64(len(t.list)-1) }

func compile(p *Problem) *instance {
	in := &instance{Problem: p, nobody: newHostset(p.Hosts)}
	byHosts := make(map[string]int)
	for i, s := range p.Sets {
		if len(s.Hosts) < 2 {
			continue
		}
		hosts := newHostset(p.Hosts)
		for _, h := range s.Hosts {
			hosts.add(h)
		}
		t, known := byHosts[hosts.key()]
		if !known {
			t = len(in.sets)
			byHosts[hosts.key()] = t
			in.sets = append(in.sets, target{hosts: hosts, list: hosts.list()})
		}
		in.sets[t].bytes += s.Bytes
		in.sets[t].members = append(in.sets[t].members, i)
	}
	slices.SortFunc(in.sets, func(a, b target) int {
		return cmp.Or(cmp.Compare(b.gain(), a.gain()), slices.Compare(a.hosts, b.hosts))
	})
	return in
}
