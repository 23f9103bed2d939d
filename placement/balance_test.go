package placement

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/internal/kit"
)

// alike is n VMs of a GiB that have nearly all in common, and hosts with room for so many each.
func alike(n int, slots ...int64) Problem {
	p := Problem{Balance: 0.25}
	all := make([]int, n)
	for i := range n {
		all[i] = i
		p.VMs = append(p.VMs, VM{Name: string(rune('a' + i)), Memory: kit.GiB})
		p.Classes = append(p.Classes, Class{VMs: []int{i}, Bytes: 10})
	}
	p.Classes = append(p.Classes, Class{VMs: all, Bytes: 1000})
	for i, s := range slots {
		p.Hosts = append(p.Hosts, Host{Name: string(rune('A' + i)), Memory: s * kit.GiB, LinkBPS: 8e9})
	}
	return p
}

// vmsOn is how many VMs each host gets.
func vmsOn(pl *Placement) (n []int) {
	for _, l := range pl.Loads {
		n = append(n, l.VMs)
	}
	return n
}

func TestBalance(t *testing.T) {
	for name, c := range map[string]struct {
		edit    func(p *Problem)
		problem Problem
		want    [3]int // VMs, most first
		slack   float64
		extra   int64
	}{
		"as it was":       {func(p *Problem) { p.Balance = 0 }, alike(6, 9, 9, 9), [3]int{6, 0, 0}, 0, 0},
		"even":            {nil, alike(6, 9, 9, 9), [3]int{2, 2, 2}, 0.25, 2000},
		"with some slack": {func(p *Problem) { p.Balance = 0.5 }, alike(6, 9, 9, 9), [3]int{3, 3, 0}, 0.5, 1000},
		"by what is free": {nil, alike(6, 20, 5, 5), [3]int{5, 1, 0}, 0.25, 1000},
		"large pieces":    {nil, alike(1, 9, 9, 9), [3]int{1, 0, 0}, 2.24, 0},
		"odd pieces":      {nil, alike(7, 9, 9, 9), [3]int{3, 2, 2}, 0.375, 2000},
		"fewest hosts":    {func(p *Problem) { p.Objective = Hosts }, alike(6, 9, 9, 9), [3]int{6, 0, 0}, 0, 0},
		"together": {func(p *Problem) {
			p.Constraints = []Constraint{{Kind: Affinity, VMs: []string{"a", "b", "c", "d", "e", "f"}}}
		}, alike(6, 9, 9, 9), [3]int{6, 0, 0}, 2.24, 0},
		"one host":    {func(p *Problem) { p.Constraints = []Constraint{{Kind: Pin, Hosts: []string{"B"}}} }, alike(6, 9, 9, 9), [3]int{6, 0, 0}, 0.25, 0},
		"little room": {func(p *Problem) { p.Hosts[2].Memory = kit.GiB }, alike(7, 3, 3, 9), [3]int{3, 3, 1}, 0, 0},
		"in part":     {func(p *Problem) { p.Partial, p.Hosts[2].Memory = true, kit.GiB }, alike(9, 3, 3, 9), [3]int{3, 3, 1}, 0, 0},
	} {
		p := c.problem
		if c.edit != nil {
			c.edit(&p)
		}
		pl := solve(t, p)
		var got [3]int
		for _, n := range vmsOn(pl) {
			for i := range got {
				if n > got[i] {
					n, got[i] = got[i], n
				}
			}
		}
		b := pl.Balance
		if b == nil {
			b = &Balance{}
		}
		if got != c.want || b.Slack-c.slack > 0.01 || c.slack-b.Slack > 0.01 || b.Traffic != c.extra {
			t.Errorf("%s: VMs %v, %+v; want %v, slack %v, %d more", name, got, b, c.want, c.slack, c.extra)
		}
	}
}

// TestBalancedPlacementsHold: whatever the problem, its rules hold, as many VMs are placed as without balance, and no host gets more than the
// bound that is said.
func TestBalancedPlacementsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kit.Draw(t)
		free, err := Solve(t.Context(), p)
		p.Balance = rapid.Float64Range(0.01, 3).Draw(t, "balance")
		pl, errB := Solve(t.Context(), p)
		var conflict *InfeasibleError
		if errors.As(err, &conflict) != errors.As(errB, &conflict) || (err == nil) != (errB == nil) {
			t.Fatal(err, errB)
		}
		if err != nil {
			return
		}
		if broken, _, _ := kit.Verdict(&p, pl.Host); broken != "" {
			t.Fatal(broken)
		}
		var want, have float64
		placed := [2]int{}
		for i := range p.VMs {
			want += float64(p.VMs[i].Memory)
			placed[0] += min(1, free.Host[i]+1)
			placed[1] += min(1, pl.Host[i]+1)
		}
		if placed[0] != placed[1] {
			t.Fatalf("%d VMs placed, %d without balance", placed[1], placed[0])
		}
		if pl.Balance == nil || pl.Balance.Slack == 0 {
			return
		}
		v, room := newSolver(t, &p), make([]float64, len(p.Hosts))
		for h, i := range v.numbering.Hosts {
			room[i] = float64(v.in.Room[h].Memory)
			have += room[i]
		}
		for i, l := range pl.Loads {
			// a host that no VM may use has no share, so that the others have more
			if most := (1 + pl.Balance.Slack) * want * room[i] / have; float64(l.Memory) > most+1 && len(p.Constraints) == 0 {
				t.Fatalf("host %d gets %d, of at most %.0f", i, l.Memory, most)
			}
		}
	})
}
