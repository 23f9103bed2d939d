package view

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter"
)

// The VMs' bytes are of their RAM, the total's of distinct contents: one is not the sum of the other.
func TestBoardKeepsVMsAndTotalApart(t *testing.T) {
	b := newBoard()
	b.apply(scatter.Event{Type: "vm", VM: "a", Host: "beta", Stage: "bulk"})
	b.apply(scatter.Event{Type: "progress", VM: "a", Bytes: 10, Total: 100, Time: kit.At(0)})
	b.apply(scatter.Event{Type: "progress", Bytes: 5, Total: 50, WireRate: 7, Time: kit.At(1)})
	b.apply(scatter.Event{Type: "progress", VM: "b", Bytes: 20, Total: 300, Time: kit.At(1)})
	vms, total := b.read()
	want := []vmLine{{Name: "a", Host: "beta", Stage: "bulk", Bytes: 10, Total: 100}, {Name: "b", Bytes: 20, Total: 300}}
	if diff := cmp.Diff(want, vms); diff != "" {
		t.Error(diff)
	}
	if total.Bytes != 5 || total.Total != 50 {
		t.Errorf("total %+v", total)
	}
	if wire, _ := b.speed(); wire != 7 {
		t.Errorf("rate %d", wire)
	}
}

func TestBoardIsFullWhenEveryVMIsThere(t *testing.T) {
	b := newBoard()
	b.apply(scatter.Event{Type: "vm", VM: "b", Stage: "bulk"})
	for _, vm := range []string{"a", "b"} {
		b.apply(scatter.Event{Type: "progress", VM: vm, Bytes: 90, Total: 100})
		b.apply(scatter.Event{Type: "progress", Bytes: 5, Total: 50})
		if _, total := b.read(); total.Bytes != 5 {
			t.Errorf("total %+v too early", total)
		}
		b.apply(scatter.Event{Type: "vm", VM: vm, Stage: "evacuated"})
	}
	vms, total := b.read()
	if vms[0].Bytes != 100 || vms[1].Bytes != 100 || total.Bytes != 50 {
		t.Errorf("%+v, total %+v", vms, total)
	}
}

func TestBoardTellsStageChanges(t *testing.T) {
	b := newBoard()
	for i, c := range []struct {
		e    scatter.Event
		want bool
	}{
		{scatter.Event{Type: "stage", Stage: "scan"}, true},
		{scatter.Event{Type: "stage", Stage: "scan"}, false},
		{scatter.Event{Type: "vm", VM: "a", Stage: "scan"}, true},
		{scatter.Event{Type: "warning", VM: "a", Message: "x"}, false},
		{scatter.Event{Type: "vm", VM: "a", Stage: "bulk"}, true},
	} {
		if got := b.apply(c.e); got != c.want {
			t.Errorf("event %d: %v, want %v", i, got, c.want)
		}
	}
}

func TestBoardKnowsVMsBetweenHosts(t *testing.T) {
	b := newBoard()
	for vm, stage := range map[string]string{"a": "converge", "b": "commit", "c": "run", "d": "evacuated", "e": "on-source"} {
		b.apply(scatter.Event{Type: "vm", VM: vm, Stage: stage})
	}
	got := b.between()
	slices.Sort(got)
	if !slices.Equal(got, []string{"b (commit)", "c (run)"}) {
		t.Errorf("got %q", got)
	}
}

func TestPace(t *testing.T) {
	var p pace
	if p.eta(100) != -1 || p.eta(0) != 0 {
		t.Error("an ETA without a reading")
	}
	for i := range 100 {
		p.add(kit.At(float64(i)), int64(i*50))
	}
	if got := p.eta(1000); math.Abs(got-20) > 0.01 {
		t.Errorf("steady 50/s: %v s for 1000, want 20", got)
	}
	for i := range 60 {
		p.add(kit.At(float64(100+i)), 99*50+int64(i+1)*500)
	}
	if got := p.eta(1000); math.Abs(got-2) > 0.1 {
		t.Errorf("after a minute at 500/s: %v s, want 2", got)
	}
	p.add(kit.At(159), 0) // same time: no division by zero
	if math.IsNaN(p.rate) || math.IsInf(p.rate, 0) {
		t.Error("rate", p.rate)
	}
	for i := range 60 {
		p.add(kit.At(float64(200+i)), 0)
	}
	if got := p.eta(1000); got >= 0 && got < 1000 {
		t.Errorf("stalled, but %v s left", got)
	}
}
