package placement

// change is by how much a host's load grows, and the bytes to its rack.
type change struct{ claim, bytes, uplink, vcpus, vms int64 }

func (c change) plus(d change) change {
	return change{c.claim + d.claim, c.bytes + d.bytes, c.uplink + d.uplink, c.vcpus + d.vcpus, c.vms + d.vms}
}

// traffic is by how much the bytes grow that cross links.
func (c change) traffic() int64 { return c.bytes + c.uplink }

// changes are those of u's host and of h if u moved there.
func (s *state) changes(u int32, h int) (there, here change) {
	x := &s.in.units[u]
	n := int64(x.count)
	there = change{-x.claim, -x.own - s.Leave[u], 0, -x.vcpus, -n}
	here = change{x.claim, x.own + s.Arrival(u, h), 0, x.vcpus, n}
	if s.racks != nil {
		there.uplink, here.uplink = s.uplinksAfter(u, h)
	}
	return there, here
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
	pairs, smalls, larges := g.Pairs(u), g.Smalls(u), g.Larges(u)
	n := len(pairs) + len(smalls) + len(larges)
	if n == 0 || a.dice.roll(8) == 0 {
		return a.dice.roll(a.n)
	}
	i := a.dice.roll(n)
	if i < len(pairs) {
		return int(a.At[pairs[i].Mate])
	}
	if i -= len(pairs); i < len(smalls) {
		mates := g.Mates(smalls[i])
		return int(a.At[mates[a.dice.roll(len(mates))]])
	}
	pins := g.Pins(larges[i-len(smalls)].Class)
	return int(a.At[pins[a.dice.roll(len(pins))]])
}

// step proposes one move, or where a host has no room for it an exchange.
func (a *anneal) step() {
	u := int32(a.dice.roll(len(a.At)))
	h := a.propose(u)
	from := int(a.At[u])
	if h == from || h == a.Limbo || from == a.Limbo || !a.in.allows(u, h) {
		return
	}
	limit := a.heat * a.dice.exponential()
	there, here := a.changes(u, h)
	loss := a.links.loss(a.state, from, h, there, here)
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
		a.exchange(u, h, there, here, limit)
	}
}

// shift moves u and keeps the lists of members.
func (a *anneal) shift(u int32, h int) {
	from := a.members[a.At[u]]
	last := from[len(from)-1]
	from[a.place[u]], a.place[last] = last, a.place[u]
	a.members[a.At[u]] = from[:len(from)-1]
	a.place[u] = int32(len(a.members[h]))
	a.members[h] = append(a.members[h], u)
	a.move(u, h)
}

// exchange lets u, whose move to h would make such changes, trade places with the best of a few units on h, if the loss
// stays within the limit. They are first judged as if they had no class in common with u, which never overstates the loss in
// traffic.
func (a *anneal) exchange(u int32, h int, there, here change, limit float64) {
	from := int(a.At[u])
	var partner int32 = nowhere
	least := limit
	for range partners {
		v := a.members[h][a.dice.roll(len(a.members[h]))]
		if !a.in.allows(v, from) {
			continue
		}
		back, forth := a.changes(v, from)
		if loss, _, _ := a.traded(from, h, there.plus(forth), here.plus(back), least); loss <= least {
			partner, least = v, loss
		}
	}
	a.tried += partners
	if partner == nowhere {
		return
	}
	kept, held := a.shared(u, partner)
	back, forth := a.changes(partner, from)
	loss, x, y := a.traded(from, h, there.plus(forth).plus(kept), here.plus(back).plus(held), limit)
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

// traded is what it would cost, price of excess included, if the loads of two hosts changed so, and their excess then. When
// it costs more than a limit even if there were no excess, that is all it tells.
func (a *anneal) traded(from, h int, there, here change, limit float64) (loss float64, x, y excess) {
	loss = a.links.loss(a.state, from, h, there, here) - a.price*(a.excess[from]+a.excess[h])
	if loss > limit {
		return loss, 0, 0
	}
	x, y = a.beyond(from, there), a.beyond(h, here)
	return loss + a.price*(x+y), x, y
}
