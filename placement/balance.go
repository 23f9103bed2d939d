package placement

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// Balance is how evenly a placement fills the hosts, and what that costs.
type Balance struct {
	// Slack is how much more than its share a host may get, as a part of it: the problem's own, or more where VMs are too large, or
	// constraints leave no other choice; 0 = as much as it has room for.
	Slack    float64       `json:"slack"`
	Traffic  int64         `json:"extra_traffic_bytes"` // more than the best placement found without balance
	Makespan time.Duration `json:"extra_makespan_ns"`   // likewise; may be negative
}

// slackStep is by how much the bound is loosened when it cannot be kept.
const slackStep = 1.1

// solveBalanced solves the problem without balance first: if that cannot be done, balance is not to blame, and what it costs is known. Then it
// lowers what each host offers to its share with some slack, and loosens that until there is a placement of as many VMs.
func (v *solver) solveBalanced(ctx context.Context, effort int) (s *assign.State, proven bool, b *Balance, err error) {
	wanted := v.p.Balance > 0 && v.in.Objective != model.FewestHosts
	if wanted {
		effort /= 2
	}
	free, proven, err := v.solve(ctx, effort)
	if err != nil || !wanted {
		return free, proven, nil, err
	}
	even := newShares(v.p, v.in)
	for slack := v.p.Balance; ; slack = (1+slack)*slackStep - 1 {
		rooms, binds := even.rooms(slack)
		if !binds {
			return free, proven, &Balance{}, nil
		}
		if within(free, rooms) {
			return free, proven, &Balance{Slack: slack}, nil
		}
		capped := &solver{v.p, v.in.Offering(rooms), v.numbering}
		s, proven := capped.attempt(ctx, effort, false)
		if s == nil || s.VMs() < free.VMs() {
			continue
		}
		return s, proven, &Balance{Slack: slack, Traffic: s.Traffic() - free.Traffic(), Makespan: s.Makespan() - free.Makespan()}, nil
	}
}

// shares is how all memory is handed out evenly, by what hosts have free.
type shares struct {
	room   []model.Room
	usable []bool  // hosts that may take any unit
	want   float64 // memory of all VMs
	have   float64 // of all usable hosts
}

func newShares(p *Problem, in *model.Instance) *shares {
	e := &shares{room: in.Room, usable: make([]bool, len(in.Room))}
	for i := range p.VMs {
		e.want += float64(p.VMs[i].Memory)
	}
	for h, r := range in.Room {
		if e.usable[h] = usable(in, h); e.usable[h] {
			e.have += float64(max(0, r.Memory))
		}
	}
	return e
}

// usable tells whether any unit may run on a host.
func usable(in *model.Instance, h int) bool {
	for u := range int32(len(in.Units)) {
		if in.Allows(u, h) {
			return true
		}
	}
	return false
}

// rooms is what hosts offer with no more room on any than its share of all memory, with that slack. binds is false if all have less room
// anyway.
func (e *shares) rooms(slack float64) (rooms []model.Room, binds bool) {
	rooms = slices.Clone(e.room)
	for h := range rooms {
		r := &rooms[h]
		if most := math.Ceil((1 + slack) * e.want * float64(r.Memory) / max(e.have, 1)); e.usable[h] && most < float64(r.Memory) {
			r.Memory, binds = int64(most), true
		}
	}
	return rooms, binds
}

// within tells whether a state needs no more memory than that.
func within(s *assign.State, rooms []model.Room) bool {
	for h, r := range rooms {
		if s.Used(h) > r.Memory {
			return false
		}
	}
	return true
}
