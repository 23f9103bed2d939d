package assign_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/compile"
	"github.com/scatter-vm/scatter/placement/internal/kit"
)

// TestStateKeepsItsTables moves units at random and compares every table with one built anew.
func TestStateKeepsItsTables(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kit.Draw(t)
		in, _, err := compile.Problem(&p)
		if err != nil {
			t.Fatal(err)
		}
		s := assign.New(in)
		for range rapid.IntRange(0, 20).Draw(t, "moves") {
			if len(in.Units) > 0 {
				u := rapid.IntRange(0, len(in.Units)-1).Draw(t, "unit")
				s.Move(int32(u), rapid.IntRange(0, s.N).Draw(t, "to"))
			}
		}
		fresh := assign.New(in)
		for u, h := range s.At {
			fresh.Move(int32(u), int(h))
		}
		if !kit.SameTables(s, fresh) {
			t.Fatalf("\n%+v\n%+v", s, fresh)
		}
	})
}

func TestStateKeepsItsTablesForLargeClasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := kit.DrawState(t)
		fresh := assign.New(s.In)
		fresh.Adopt(s.At)
		if !kit.SameTables(s, fresh) {
			t.Fatal("tables differ")
		}
		for u := range int32(40) {
			for _, c := range s.In.Classes.Classes(u) {
				if !slices.Contains(s.In.Classes.Pins(c), uint16(u)) {
					t.Fatalf("class %d is not unit %d's", c, u)
				}
			}
		}
	})
}

func TestTradeForeseesTheLoads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := kit.DrawState(t)
		u, v := int32(rapid.IntRange(0, 39).Draw(t, "u")), int32(rapid.IntRange(0, 39).Draw(t, "v"))
		a, b := int(s.At[u]), int(s.At[v])
		if a == b || a == s.Limbo || b == s.Limbo {
			return
		}
		before := slices.Clone(s.Loads)
		kept, held := s.Shared(u, v)
		there, here := s.Trade(u, v, kept, held)
		traffic := s.Traffic()
		s.Move(u, b)
		s.Move(v, a)
		if got := s.Traffic() - traffic; got != there.Traffic()+here.Traffic() {
			t.Fatalf("%d bytes more, foreseen %+v and %+v", got, there, here)
		}
		for h, c := range map[int]assign.Change{a: there, b: here} {
			if got := s.Loads[h].Bytes - before[h].Bytes; got != c.Bytes || s.Loads[h].Claim-before[h].Claim != c.Claim {
				t.Fatalf("host %d: %d bytes more, foreseen %+v", h, got, c)
			}
		}
	})
}
