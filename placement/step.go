package placement

// change is by how much a host's load grows.
type change struct{ claim, bytes, vcpus, vms int64 }

func (c change) plus(d change) change {
	return change{c.claim + d.claim, c.bytes + d.bytes, c.vcpus + d.vcpus, c.vms + d.vms}
}

// changes are those of u's host and of h if u moved there.
func (s *state) changes(u int32, h int) (there, here change) {
	x := &s.in.units[u]
	n := int64(x.count)
	return change{-x.claim, -x.own - s.leave[u], -x.vcpus, -n}, change{x.claim, x.own + s.arrival(u, h), x.vcpus, n}
}

// beyond is the excess of a host after a change.
func (a *anneal) beyond(h int, c change) (x excess) {
	r, l := &a.in.room[h], &a.load[h]
	if memory := a.usedAfter(h, c); memory > r.memory {
		x += float64(memory-r.memory) * a.unit.memory
	}
	if v := l.vcpus + c.vcpus; v > r.vcpus {
		x += float64(v-r.vcpus) * a.unit.vcpus
	}
	if v := l.vms + c.vms; v > r.vms {
		x += float64(v-r.vms) * a.unit.vms
	}
	return x
}

func (a *anneal) setExcess(h int, x excess) {
	if a.excess[h] > 0 {
		a.over--
	}
	if x > 0 {
		a.over++
	}
	a.excess[h] = x
}

// propose picks a host for u: mostly that of another owner of one of its classes, sometimes any.
func (a *anneal) propose(u int32) int {
	g := &a.in.classes
	pairs, smalls, larges := g.pairsOf(u), g.smallsOf(u), g.largesOf(u)
	n := len(pairs) + len(smalls) + len(larges)
	if n == 0 || a.dice.roll(8) == 0 {
		return a.dice.roll(a.n)
	}
	i := a.dice.roll(n)
	if i < len(pairs) {
		return int(a.host[pairs[i].mate])
	}
	if i -= len(pairs); i < len(smalls) {
		c := &smalls[i]
		return int(a.host[g.mates[int(c.from)+a.dice.roll(int(c.to-c.from))]])
	}
	pins := g.pinsOf(larges[i-len(smalls)].class)
	return int(a.host[pins[a.dice.roll(len(pins))]])
}

// step proposes one move, or where a host has no room for it an exchange.
func (a *anneal) step() {
	u := int32(a.dice.roll(len(a.host)))
	h := a.propose(u)
	from := int(a.host[u])
	if h == from || h == a.limbo || from == a.limbo || !a.in.allows(u, h) {
		return
	}
	limit := a.heat * a.dice.exponential()
	there, here := a.changes(u, h)
	loss := a.links.loss(a.state, from, h, there.bytes, here.bytes)
	if loss-a.price*a.excess[from] > limit {
		return
	}
	x, y := a.beyond(from, there), a.beyond(h, here)
	switch {
	case loss+a.price*(x-a.excess[from]+y-a.excess[h]) <= limit:
		if len(a.in.groupsOf[u]) == 0 || a.parted(u, h) {
			a.shift(u, h)
			a.setExcess(from, x)
			a.setExcess(h, y)
		}
	case y > 0 && len(a.members[h]) > 0:
		a.exchange(u, h, limit)
	}
}

// shift moves u and keeps the lists of members.
func (a *anneal) shift(u int32, h int) {
	from := a.members[a.host[u]]
	last := from[len(from)-1]
	from[a.place[u]], a.place[last] = last, a.place[u]
	a.members[a.host[u]] = from[:len(from)-1]
	a.place[u] = int32(len(a.members[h]))
	a.members[h] = append(a.members[h], u)
	a.move(u, h)
}

// exchange lets u trade places with the best of a few units on h, if the loss stays within the limit. They are first
// judged as if they had no class in common with u, which never overstates the loss in traffic.
func (a *anneal) exchange(u int32, h int, limit float64) {
	from := int(a.host[u])
	var partner int32 = nowhere
	least := limit
	for range partners {
		v := a.members[h][a.dice.roll(len(a.members[h]))]
		if !a.in.allows(v, from) {
			continue
		}
		if loss, _, _ := a.exchanged(u, v, 0, 0); loss <= least {
			partner, least = v, loss
		}
	}
	if partner == nowhere {
		return
	}
	kept, held := a.common(u, partner)
	loss, x, y := a.exchanged(u, partner, kept, held)
	if loss > limit {
		return
	}
	a.shift(u, h)
	a.shift(partner, from)
	if !a.grouped(u) || !a.grouped(partner) {
		a.shift(partner, h)
		a.shift(u, from)
		return
	}
	a.setExcess(from, x)
	a.setExcess(h, y)
}

// exchanged is what it would cost, price of excess included, if u and v traded places, and the excess of their hosts
// then.
func (a *anneal) exchanged(u, v int32, kept, held int64) (loss float64, x, y excess) {
	from, h := int(a.host[u]), int(a.host[v])
	there, here := a.trade(u, v, kept, held)
	x, y = a.beyond(from, there), a.beyond(h, here)
	loss = a.links.loss(a.state, from, h, there.bytes, here.bytes)
	return loss + a.price*(x-a.excess[from]+y-a.excess[h]), x, y
}

// common is the bytes of classes of both u and v that only u needs on its host, and that only v needs on its own.
func (s *state) common(u, v int32) (kept, held int64) {
	g := &s.in.classes
	from, to := s.host[u], s.host[v]
	for _, p := range g.pairsOf(u) {
		if int32(p.mate) == v {
			kept += p.weight
			held += p.weight
		}
	}
	for _, c := range g.smallsOf(u) {
		mates := g.mates[c.from:c.to]
		found := uint32(0)
		for _, m := range mates {
			found |= same(m, uint16(v))
		}
		s.touched += len(mates) / 2
		if found == 0 {
			continue
		}
		var there, here uint32
		for _, m := range mates {
			there += same(s.host[m], from)
			here += same(s.host[m], to)
		}
		kept += c.weight & ifZero(there)
		held += c.weight & ifZero(here-1)
	}
	for _, c := range g.largesOf(u) {
		seats := s.seat[int(c.row)*(s.n+1):]
		there, here := seats[from]>>16, seats[to]>>16
		if here > 0 && (there == 1 || here == 1) && g.owns(v, c.class) {
			kept += c.weight & ifZero(there-1)
			held += c.weight & ifZero(here-1)
		}
	}
	return kept, held
}
