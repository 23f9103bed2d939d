package placement

import (
	"context"
	"math"
	"slices"
	"time"
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
func (in *instance) solveBalanced(ctx context.Context, effort int) (s *state, proven bool, b *Balance, err error) {
	wanted := in.p.Balance > 0 && in.p.Objective != Hosts
	if wanted {
		effort /= 2
	}
	free, proven, err := in.solve(ctx, effort)
	if err != nil || !wanted {
		return free, proven, nil, err
	}
	for slack := in.p.Balance; ; slack = (1+slack)*slackStep - 1 {
		capped := in.balanced(slack)
		if capped == nil {
			return free, proven, &Balance{}, nil
		}
		if free.within(capped.room) {
			return free, proven, &Balance{Slack: slack}, nil
		}
		s, proven := capped.attempt(ctx, effort, false)
		if s == nil || s.vms() < free.vms() {
			continue
		}
		return s, proven, &Balance{Slack: slack, Traffic: s.traffic() - free.traffic(), Makespan: s.makespan() - free.makespan()}, nil
	}
}

// balanced is the instance with no more room on any host than its share of all memory, with that slack; nil if all have less room anyway.
func (in *instance) balanced(slack float64) *instance {
	var want, have float64
	for i := range in.p.VMs {
		want += float64(in.p.VMs[i].Memory)
	}
	usable := in.usable()
	for h, r := range in.room {
		if usable[h] {
			have += float64(max(0, r.memory))
		}
	}
	out := *in
	out.room = slices.Clone(in.room)
	binds := false
	for h := range out.room {
		r := &out.room[h]
		if most := math.Ceil((1 + slack) * want * float64(r.memory) / max(have, 1)); usable[h] && most < float64(r.memory) {
			r.memory, binds = int64(most), true
		}
	}
	if !binds {
		return nil
	}
	return &out
}

// usable tells which hosts may take any unit.
func (in *instance) usable() []bool {
	usable := make([]bool, len(in.room))
	for h := range usable {
		for u := range int32(len(in.units)) {
			if in.allows(u, h) {
				usable[h] = true
				break
			}
		}
	}
	return usable
}

// within tells whether a state needs no more memory than that.
func (s *state) within(rooms []room) bool {
	for h, r := range rooms {
		if s.used(h) > r.memory {
			return false
		}
	}
	return true
}

// vms is how many VMs are placed.
func (s *state) vms() (n int64) {
	for h := range s.n {
		n += s.load[h].vms
	}
	return n
}

// makespan is the time until the slowest link is done.
func (s *state) makespan() time.Duration {
	t := s.in.floor
	for h := range s.n {
		t = max(t, sendTime(s.load[h].bytes, s.in.bps[h]))
	}
	return time.Duration(t)
}
