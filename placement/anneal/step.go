package anneal

import "github.com/scatter-vm/scatter/placement/assign"

// propose picks a host for u: mostly that of another owner of one of its classes, sometimes any.
func (a *Annealing) propose(u int32) int {
	g := a.classes
	pairs, smalls, larges := g.Pairs(u), g.Smalls(u), g.Larges(u)
	n := len(pairs) + len(smalls) + len(larges)
	if n == 0 || a.dice.Roll(8) == 0 {
		return a.dice.Roll(a.N)
	}
	i := a.dice.Roll(n)
	if i < len(pairs) {
		return int(a.At[pairs[i].Mate])
	}
	if i -= len(pairs); i < len(smalls) {
		mates := g.Mates(smalls[i])
		return int(a.At[mates[a.dice.Roll(len(mates))]])
	}
	pins := g.Pins(larges[i-len(smalls)].Class)
	return int(a.At[pins[a.dice.Roll(len(pins))]])
}

// step proposes one move, or where a host has no room for it an exchange.
func (a *Annealing) step() {
	u := int32(a.dice.Roll(len(a.At)))
	h := a.propose(u)
	from := int(a.At[u])
	if h == from || h == a.Limbo || from == a.Limbo || !a.In.Allows(u, h) {
		return
	}
	limit := a.heat * a.dice.Exponential()
	there, here := a.Changes(u, h)
	loss := a.links.loss(a.State, from, h, there, here)
	if loss-a.price*a.excess[from] > limit {
		return
	}
	x, y := a.beyond(from, there), a.beyond(h, here)
	switch {
	case loss+a.price*(x-a.excess[from]+y-a.excess[h]) <= limit:
		if len(a.In.Groups.Of(u)) == 0 || a.Parted(u, h) {
			a.shift(u, h)
			a.setExcess(from, x)
			a.setExcess(h, y)
		}
	case y > 0 && len(a.roster.members[h]) > 0:
		a.exchange(u, h, there, here, limit)
	}
}

// shift moves u and keeps the lists of members.
func (a *Annealing) shift(u int32, h int) {
	a.roster.transfer(u, int(a.At[u]), h)
	a.Move(u, h)
}

// exchange lets u, whose move to h would make such changes, trade places with the best of a few units on h, if the loss
// stays within the limit. They are first judged as if they had no class in common with u, which never overstates the loss in
// traffic.
func (a *Annealing) exchange(u int32, h int, there, here assign.Change, limit float64) {
	from := int(a.At[u])
	var partner int32 = assign.Nowhere
	least := limit
	for range partners {
		v := a.roster.members[h][a.dice.Roll(len(a.roster.members[h]))]
		if !a.In.Allows(v, from) {
			continue
		}
		back, forth := a.Changes(v, from)
		if loss, _, _ := a.traded(from, h, there.Plus(forth), here.Plus(back), least); loss <= least {
			partner, least = v, loss
		}
	}
	a.tried += partners
	if partner == assign.Nowhere {
		return
	}
	kept, held := a.Shared(u, partner)
	back, forth := a.Changes(partner, from)
	loss, x, y := a.traded(from, h, there.Plus(forth).Plus(kept), here.Plus(back).Plus(held), limit)
	if loss > limit {
		return
	}
	a.shift(u, h)
	a.shift(partner, from)
	if !a.Obeys(u) || !a.Obeys(partner) {
		a.shift(partner, h)
		a.shift(u, from)
		return
	}
	a.setExcess(from, x)
	a.setExcess(h, y)
}

// traded is what it would cost, price of excess included, if the loads of two hosts changed so, and their excess then. When
// it costs more than a limit even if there were no excess, that is all it tells.
func (a *Annealing) traded(from, h int, there, here assign.Change, limit float64) (loss float64, x, y excess) {
	loss = a.links.loss(a.State, from, h, there, here) - a.price*(a.excess[from]+a.excess[h])
	if loss > limit {
		return loss, 0, 0
	}
	x, y = a.beyond(from, there), a.beyond(h, here)
	return loss + a.price*(x+y), x, y
}
