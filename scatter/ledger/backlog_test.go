package ledger

import (
	"testing"

	"github.com/scatter-vm/scatter/dedup"
)

// TestBacklogGivesPartsOfItsEpoch: as few as there are blocks, and none once another epoch has begun.
func TestBacklogGivesPartsOfItsEpoch(t *testing.T) {
	part := func(p dedup.Page, vm int) Part {
		return Part{Owners: []dedup.Page{p}, Ends: []uint16{1}, vms: []int{vm}, bytes: 1}
	}
	s := make(backlogs)
	if s.lag(1) {
		t.Error("lags without a backlog")
	}
	b := s.of(1)
	b.parts = []Part{part(7, 0), part(8, 1)}
	if !s.lag(1) || s.of(1) != b {
		t.Error("does not lag")
	}
	if p, ok := b.next(0); !ok || len(p.Owners) != 2 || p.bytes != 2 || len(p.vms) != 2 || b.lags() {
		t.Errorf("%+v, lags %v", p, b.lags())
	}
	if _, ok := b.next(0); ok {
		t.Error("something of nothing")
	}
	b.repairing = true
	if !b.lags() {
		t.Error("does not lag while its parts are on their way")
	}
	b.repairing = false
	b.parts = []Part{part(9, 0)}
	b.epoch++
	if _, ok := b.next(0); ok {
		t.Error("a part of another epoch")
	}
	if parts := b.abandon(); len(parts) != 1 || b.lags() {
		t.Errorf("abandoned %v, lags %v", parts, b.lags())
	}
}
