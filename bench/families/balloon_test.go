//go:build lab

package families

import (
	"context"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// Sizes of a ballooned guest, in MiB: when it boots, and with its balloon inflated.
const (
	full     = 256
	deflated = 176
)

// A guest whose balloon is inflated arrives as small as it was, and gets its memory back there. One whose balloon is inflated meanwhile
// does, too: what it gives back is not what was sent of it.
func TestLabBallooned(t *testing.T) {
	ctx := t.Context()
	f := boot(t, alike(2, lab.GuestConfig{
		System: image.Drivers, Memory: full, Extra: []string{"-device", "virtio-balloon-pci"},
		Workload: lab.Workload{Common: 24, Own: 12, Zero: 8, Hot: 1, Dirty: 50, Verify: 4000},
	})...)
	for _, g := range f.guests {
		if err := balloon(ctx, g, f.Lab.Source, deflated); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range f.evacuate(t) {
		g := f.guests[i]
		if size, err := actual(ctx, g, h); err != nil || size != deflated {
			t.Errorf("guest %s has %d MiB on %s instead of %d: %v", g.Name, size, h.Name, deflated, err)
		}
		if err := balloon(ctx, g, h, full); err != nil {
			t.Error(err)
		}
	}
	f.verified(t)
	f.home(t)
	inflate := func() error { return balloon(ctx, f.guests[0], f.Lab.Source, deflated) }
	for i, h := range f.evacuate(t, inflate) {
		if size, err := actual(ctx, f.guests[i], h); err != nil || size != [...]int64{deflated, full}[i] {
			t.Errorf("guest %s has %d MiB on %s: %v", f.guests[i].Name, size, h.Name, err)
		}
	}
}

// balloon leaves the guest, which runs on h, so many MiB, and waits until it has given back the rest.
func balloon(ctx context.Context, g *lab.Guest, h *lan.Host, mib int64) error {
	if err := tell(ctx, g, h, "balloon", map[string]int64{"value": mib << 20}, nil); err != nil {
		return err
	}
	for {
		if size, err := actual(ctx, g, h); err != nil || size == mib {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// actual returns how many MiB the balloon leaves the guest.
func actual(ctx context.Context, g *lab.Guest, h *lan.Host) (int64, error) {
	var info struct{ Actual int64 }
	err := tell(ctx, g, h, "query-balloon", nil, &info)
	return info.Actual >> 20, err
}
