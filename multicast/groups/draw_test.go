package groups

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// randomSets draws n distinct sets of at most 63 hosts, none empty.
func randomSets(hosts, n int, seed uint64) []hostset {
	rng := rand.New(rand.NewPCG(seed, 1))
	seen := make(map[uint64]bool)
	var sets []hostset
	for len(sets) < n {
		w := 1 + rng.Uint64N(1<<hosts-1)
		if !seen[w] {
			seen[w] = true
			sets = append(sets, hostset{w})
		}
	}
	return sets
}

// family is a problem of random sets of at least two hosts, all of the same size.
func family(hosts, n int, seed uint64) Problem {
	p := Problem{Hosts: hosts, Limits: Limits{Groups: n}, Seed: seed}
	for _, s := range randomSets(hosts, min(n+hosts, 1<<hosts-1), seed) {
		if s.size() > 1 && len(p.Sets) < n {
			p.Sets = append(p.Sets, Set{Hosts: s.list(), Bytes: 1e9})
		}
	}
	return p
}

// seeds are the seeds below n; in a short run, the first.
func seeds(n uint64) uint64 {
	if testing.Short() {
		return 1
	}
	return n
}

// zipfFamily is the same with bytes that follow Zipf's law, in random order, and a budget of groups.
func zipfFamily(hosts, n, groups int, seed uint64) Problem {
	p := family(hosts, n, seed)
	p.Limits.Groups = groups
	for i := range p.Sets {
		p.Sets[i].Bytes = int64(1e9 / float64(i+1))
	}
	shuffle(p.Sets, seed)
	return p
}

func shuffle[T any](list []T, seed uint64) {
	rand.New(rand.NewPCG(seed, 2)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

// drawProblem draws a small problem of any kind.
func drawProblem(t *rapid.T) Problem {
	draw := func(name string, from ...int64) int64 { return rapid.SampledFrom(from).Draw(t, name) }
	p := Problem{
		Hosts:  int(draw("hosts", 1, 4, 6, 6, 70)),
		Limits: Limits{int(draw("groups", 0, 1, 2, 3, 6)), int(draw("memberships", 0, 1, 2, 3, 4))},
		Prices: Prices{draw("source", 0, 1, 1, 2), draw("host", 0, 1, 1, 2), draw("change", 0, 0, 1, 5, 20)},
		Delay:  Delay{draw("join", 0, 1, 10, 30), draw("leave", 0, 10, 90)},
		Seed:   rapid.Uint64().Draw(t, "seed"),
	}
	for range draw("sets", 0, 3, 8, 16) {
		hosts := rapid.SliceOfNDistinct(rapid.IntRange(0, min(p.Hosts, 8)-1), 1, -1, rapid.ID).Draw(t, "set")
		p.Sets = append(p.Sets, Set{Hosts: hosts, Bytes: draw("bytes", 0, 5, 5, 20, 40)})
	}
	for _, s := range p.Sets {
		if p.Hosts == 70 { // more than a word
			s.Hosts[0] += 60
		}
	}
	return p
}

// sortedSets is the plan's groups by their hosts alone.
func sortedSets(p *Plan) [][]int {
	var sets [][]int
	for _, g := range p.Groups {
		sets = append(sets, g.Hosts)
	}
	slices.SortFunc(sets, slices.Compare)
	return sets
}
