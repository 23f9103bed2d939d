//go:build lab

package lab_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/scatter-vm/scatter/bench/guest/content"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/stock"
)

// newLab returns a lab that ends with the test.
func newLab(t *testing.T, targets int, rate int64) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.Context(), lab.Config{Targets: targets, Rate: rate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func boot(t *testing.T, l *lab.Lab, n int) []*lab.Guest {
	t.Helper()
	var configs []lab.GuestConfig
	for i := range n {
		configs = append(configs, lab.GuestConfig{Name: fmt.Sprintf("vm%d", i+1), Memory: 160, Workload: lab.SmallWorkload(i + 1)})
	}
	guests, err := l.Boot(t.Context(), configs...)
	if err != nil {
		t.Fatal(err)
	}
	return guests
}

func TestLabStockMigration(t *testing.T) {
	ctx := t.Context()
	l := newLab(t, 2, 500e6)
	guests := boot(t, l, 2)
	contents, err := lab.CountContents(ctx, guests...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := stock.Evacuate(ctx, l, guests, stock.RoundRobin(l), stock.Default)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("contents %+v; %v, %d bytes, worst pause %v", contents, r.Time, r.SourceBytes, r.WorstPause())
	if r.SourceBytes < contents.NonZero || float64(r.SourceBytes) > 1.5*float64(contents.NonZero) {
		t.Errorf("%d bytes left the source for %d bytes that are not zero", r.SourceBytes, contents.NonZero)
	}
	if rate := float64(r.SourceBytes) * 8 / r.Time.Seconds(); rate > 1.1*500e6 {
		t.Errorf("bytes left the source at %.0f bit/s through a port of 500 Mbit/s", rate)
	}
	for i, g := range guests {
		h, err := l.Where(ctx, g)
		if err != nil || h != l.Targets[i] {
			t.Errorf("guest %s is on %v: %v", g.Name, h, err)
		}
		if pause := r.Moves[i].Pause; pause.Length <= 0 || pause.From.Host != l.Source || pause.To.Host != l.Targets[i] {
			t.Errorf("guest %s: pause %+v", g.Name, pause)
		}
		if err := g.AwaitVerified(ctx); err != nil {
			t.Error(err)
		}
		if err := g.MoveHome(ctx); err != nil {
			t.Error(err)
		}
		if h, err := l.Where(ctx, g); err != nil || h != l.Source {
			t.Errorf("guest %s came home to %v: %v", g.Name, h, err)
		}
	}
	if again, err := lab.CountContents(ctx, guests...); err != nil || again.Distinct < contents.Distinct/2 {
		t.Errorf("contents at home: %+v, %v", again, err)
	}
	for _, g := range guests {
		if err := g.AwaitVerified(ctx); err != nil {
			t.Error(err)
		}
	}
}

// A guest whose memory is changed behind its back must say so, or its saying nothing means nothing.
func TestLabGuestSeesCorruption(t *testing.T) {
	l := newLab(t, 1, 0)
	g := boot(t, l, 1)[0]
	corrupt(t, g, l.Source)
	if err := g.AwaitVerified(t.Context()); err == nil || !strings.Contains(err.Error(), "CORRUPT") {
		t.Errorf("after one byte was changed, the guest says %v", err)
	}
}

// corrupt flips a bit in one of the guest's own pages.
func corrupt(t *testing.T, g *lab.Guest, h *lan.Host) {
	t.Helper()
	var page content.Page
	content.Fill(&page, content.Name{Kind: content.Own, Guest: uint64(g.Config.Workload.ID), Number: 77})
	want := unsafe.Slice((*byte)(unsafe.Pointer(&page)), content.Bytes)
	ram, err := g.OpenRAM(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer ram.Close()
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", g.PID()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	got := make([]byte, content.Bytes)
	for _, b := range ram.Blocks {
		for at := b.Host; at < b.Host+b.Length; at += content.Bytes {
			if _, err := mem.ReadAt(got, at); err == nil && bytes.Equal(got, want) {
				if _, err := mem.WriteAt([]byte{got[999] ^ 4}, at+999); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
	t.Fatal("the page is not in the guest's memory")
}
