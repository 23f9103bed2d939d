package ledger

import (
	"slices"
	"testing"
)

// TestInFlightCountsEachBlockOnce: also one that is confirmed before its number is known.
func TestInFlightCountsEachBlockOnce(t *testing.T) {
	f := newInFlight()
	late, early := blockKey{1, 0}, blockKey{1, 1}
	if f.add(late, &sentBlock{}) {
		t.Error("confirmed before anything was")
	}
	if f.confirm(early) != nil || f.confirmed != 0 {
		t.Errorf("%d blocks are confirmed, none of which was added", f.confirmed)
	}
	b := &sentBlock{}
	if !f.add(early, b) || f.confirm(early) != b || f.confirm(late) == nil {
		t.Error("not confirmed")
	}
	if f.confirmed != 2 || len(f.blocks) != 0 || len(f.early) != 0 {
		t.Errorf("%d confirmed; left over: %v, early %v", f.confirmed, f.blocks, f.early)
	}
}

// TestLackedBlocks: of its channel only, the missing ones and all from next on.
func TestLackedBlocks(t *testing.T) {
	f := newInFlight()
	for n := range uint64(6) {
		f.add(blockKey{1, n}, &sentBlock{Cargo: Cargo{Bytes: int64(n)}})
		f.add(blockKey{2, n}, &sentBlock{Cargo: Cargo{Bytes: 100}})
	}
	var got []int64
	for b := range f.lackedBy(1, detachment{missing: []uint64{0, 2}, next: 4}) {
		got = append(got, b.Bytes)
	}
	slices.Sort(got)
	if !slices.Equal(got, []int64{0, 2, 4, 5}) {
		t.Errorf("blocks %v", got)
	}
}
