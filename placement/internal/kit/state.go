package kit

import (
	"math/rand/v2"
	"reflect"
	"strings"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/compile"
	"github.com/scatter-vm/scatter/placement/problem"
)

// DrawState draws a state whose classes are of all sizes.
func DrawState(t *rapid.T) *assign.State {
	p := RandomNets(40, 50, 4, 0.5, rapid.Uint64().Draw(t, "nets"))
	p.Capacity = rapid.SampledFrom([]string{problem.Sum, problem.Shared}).Draw(t, "capacity")
	for h := range p.Hosts {
		p.Hosts[h].Rack = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "rack")
	}
	in, _, err := compile.Problem(&p)
	if err != nil {
		t.Fatal(err)
	}
	s := assign.New(in)
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "moves"), 1))
	for range 200 {
		s.Move(int32(rng.IntN(40)), rng.IntN(5))
	}
	return s
}

// SameTables compares all tables of two states of an instance. What they have been through may differ.
func SameTables(s, t *assign.State) bool {
	ours := func(kind reflect.Type) bool { return strings.Contains(kind.PkgPath(), "/placement/") }
	beside := func(p cmp.Path) bool {
		switch p.Last().String() {
		case ".In", ".in", ".classes", ".groups", ".touched":
			return true
		}
		return false
	}
	return cmp.Equal(s, t, cmp.Exporter(ours), cmp.FilterPath(beside, cmp.Ignore()))
}
