//go:build lab

package lab_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/witness"
	"github.com/scatter-vm/scatter/bench/stock"
)

// needsKVM skips the test where there is no KVM.
func needsKVM(t *testing.T) {
	t.Helper()
	if err := lab.NeedsKVM(); errors.Is(err, lab.ErrNoKVM) {
		t.Skip(err)
	}
}

func bootTiny(t *testing.T, l *lab.Lab, kvm bool) *lab.Guest {
	t.Helper()
	if kvm {
		needsKVM(t)
	}
	guests, err := l.Boot(t.Context(), lab.GuestConfig{Name: "tiny1", Memory: 8, Workload: lab.TinyWorkload(1), Tiny: true, KVM: kvm})
	if err != nil {
		t.Fatal(err)
	}
	return guests[0]
}

// accelerators runs a test on an emulated processor and on the host's.
func accelerators(t *testing.T, test func(t *testing.T, kvm bool)) {
	for _, kvm := range []bool{false, true} {
		t.Run(fmt.Sprintf("kvm=%v", kvm), func(t *testing.T) { test(t, kvm) })
	}
}

func TestLabTinyGuest(t *testing.T) {
	accelerators(t, func(t *testing.T, kvm bool) {
		l := newLab(t, 1, 0)
		g := bootTiny(t, l, kvm)
		if err := g.AwaitVerified(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := stock.Evacuate(t.Context(), l, []*lab.Guest{g}, stock.RoundRobin(l), stock.Default); err != nil {
			t.Fatal(err)
		}
		if h, err := l.Where(t.Context(), g); err != nil || h != l.Targets[0] {
			t.Errorf("it is on %v: %v", h, err)
		}
		if err := g.AwaitVerified(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// ownPage is an address in the middle of the own pages of a guest with TinyWorkload.
const ownPage = 4608 << 10

func TestLabTinyGuestSeesCorruption(t *testing.T) {
	accelerators(t, func(t *testing.T, kvm bool) {
		l := newLab(t, 1, 0)
		g := bootTiny(t, l, kvm)
		flip(t, l, g, ownPage+999)
		if err := g.AwaitVerified(t.Context()); err == nil || !strings.Contains(err.Error(), "CORRUPT own page") ||
			!strings.Contains(err.Error(), "word 249:") {
			t.Errorf("after one byte was changed, the guest says %v", err)
		}
	})
}

// flip changes a bit in a guest's memory on the source.
func flip(t *testing.T, l *lab.Lab, g *lab.Guest, at int64) {
	t.Helper()
	ram, err := g.OpenRAM(t.Context(), l.Source)
	if err != nil {
		t.Fatal(err)
	}
	defer ram.Close()
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", g.PID()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	i := slices.IndexFunc(ram.Blocks, func(b witness.RAMBlock) bool { return b.Name == "pc.ram" })
	b := make([]byte, 1)
	if _, err := mem.ReadAt(b, ram.Blocks[i].Host+at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := mem.WriteAt(b, ram.Blocks[i].Host+at); err != nil {
		t.Fatal(err)
	}
}

// A guest that is told what it cannot be says so, instead of being something else.
func TestLabTinyGuestRefuses(t *testing.T) {
	l := newLab(t, 1, 0)
	for name, w := range map[string]lab.Workload{
		"parameter is no number": {ID: 1, Hot: -1, Dirty: 1, Verify: 1},
		"more pages than memory": {ID: 2, Own: 64, Hot: 1},
	} {
		g, err := l.Start(t.Context(), lab.GuestConfig{Name: fmt.Sprintf("wrong%d", w.ID), Memory: 8, Workload: w, Tiny: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
