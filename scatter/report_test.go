package scatter

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
)

func TestOutcomeIsTheWorst(t *testing.T) {
	for _, c := range []struct {
		states []string
		want   Outcome
	}{
		{nil, AllEvacuated},
		{[]string{"evacuated", "evacuated"}, AllEvacuated},
		{[]string{"evacuated", "on-source"}, SomeStay},
		{[]string{"on-source", "in-doubt", "evacuated"}, SomeInDoubt},
		{[]string{"converge"}, SomeStay},
		{[]string{"", "evacuated"}, SomeStay},
	} {
		var r Report
		for _, s := range c.states {
			r.VMs = append(r.VMs, VMReport{State: s})
		}
		if got := r.Outcome(); got != c.want {
			t.Errorf("%q: %d, want %d", c.states, got, c.want)
		}
	}
	// The report names final states as the core does.
	for s, want := range map[vmState]Outcome{evacuated: AllEvacuated, stays: SomeStay, doubt: SomeInDoubt} {
		if got := (&Report{VMs: []VMReport{{State: s.String()}}}).Outcome(); got != want {
			t.Errorf("%s: %d, want %d", s, got, want)
		}
	}
}

func TestTCPBytes(t *testing.T) {
	for n, want := range map[int64]int64{0: 0, 1448: 1448 + 66, 1448000: 1514000} {
		if got := tcpBytes(n); got != want {
			t.Errorf("%d bytes are %d on the wire, want %d", n, got, want)
		}
	}
}

func TestMatchBlocks(t *testing.T) {
	found := []qemu.RAMBlock{{ID: "vga", Host: 1 << 20}, {ID: "pc.ram", Host: 1 << 21}, {ID: "acpi"}}
	got, err := matchBlocks([]stream.RAMBlock{{Name: "pc.ram", Length: 8 * PageSize}, {Name: "acpi", Length: PageSize}}, found)
	want := []ramBlock{{name: "pc.ram", length: 8 * PageSize, index: 1}, {name: "acpi", length: PageSize, index: 2, hidden: true}}
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] || got[0].pages() != 8 {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, l := range map[string]stream.RAMBlock{
		"unknown": {Name: "nvdimm", Length: PageSize}, "odd": {Name: "pc.ram", Length: PageSize + 1}, "huge": {Name: "pc.ram", Length: maxGuestPages * PageSize},
	} {
		if _, err := matchBlocks([]stream.RAMBlock{l}, found); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWarningsAreEvents(t *testing.T) {
	var got []Event
	log := slog.New(warnHandler{slog.DiscardHandler, func(e Event) { got = append(got, e) }})
	log.Info("nobody wants to know")
	log.Warn("target lost", "target", "h", "err", "away", "n", 3)
	log.With("more", 1).WithGroup("g").Error("worse")
	want := []Event{{Type: "warning", Host: "h", Message: "target lost: err away, n 3"}, {Type: "warning", Message: "worse"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
