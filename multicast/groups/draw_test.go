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
	p := Problem{
		Hosts:  rapid.SampledFrom([]int{1, 2, 3, 5, 6, 70}).Draw(t, "hosts"),
		Limits: Limits{rapid.IntRange(0, 6).Draw(t, "groups"), rapid.IntRange(0, 4).Draw(t, "memberships")},
		Prices: Prices{rapid.Int64Range(0, 2).Draw(t, "source"), rapid.Int64Range(0, 2).Draw(t, "host"), rapid.Int64Range(0, 20).Draw(t, "change")},
		Delay:  Delay{rapid.Int64Range(0, 30).Draw(t, "join"), rapid.Int64Range(0, 90).Draw(t, "leave")},
		Seed:   rapid.Uint64().Draw(t, "seed"),
	}
	for range rapid.IntRange(0, 16).Draw(t, "sets") {
		hosts := rapid.SliceOfNDistinct(rapid.IntRange(0, p.Hosts-1), 1, min(p.Hosts, 8), rapid.ID).Draw(t, "set")
		p.Sets = append(p.Sets, Set{Hosts: hosts, Bytes: rapid.SampledFrom([]int64{0, 1, 5, 5, 20, 40}).Draw(t, "bytes")})
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
