// Package pack finds room: it constructs assignments that respect every host's room and every constraint, as a beginning for searches that make them
// cheap, and tells which units to leave out where there is not room for all, or how few hosts will do.
package pack

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// Units places the units that are not idle where they fit, until ctx ends, and returns those that found no room.
func Units(ctx context.Context, s *assign.State, idle []bool, rng *rand.Rand) (left []int32) {
	order := slices.DeleteFunc(BySize(s.In), func(u int32) bool { return idle != nil && idle[u] })
	return newEjection(ctx, s, rng).run(Greedy(s, order), effort(s.In))
}

// effort bounds the search for room, in pins touched.
func effort(in *model.Instance) int {
	return 500*len(in.Units)*len(in.Room) + 10*in.Classes.Owners()
}

// Anyhow is some placement of all units, or nil if none is found at once.
func Anyhow(in *model.Instance, seed uint64) []uint16 {
	s := assign.New(in)
	if len(Units(context.Background(), s, nil, rand.New(rand.NewPCG(seed, 7)))) > 0 {
		return nil
	}
	return s.At
}
