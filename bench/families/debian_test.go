//go:build lab

package families

import (
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
)

// Debian with systemd and a Redis that is read and written all the time. Half of its values are known to all guests.
func TestLabDebian(t *testing.T) {
	if err := image.HasDebian(); err != nil {
		t.Skip(err)
	}
	f := boot(t, alike(2, lab.GuestConfig{System: image.Debian, Memory: 256, Workload: lab.Workload{
		Common: 16, Own: 16, Hot: 1, Dirty: 50, Verify: 1000,
	}})...)
	f.evacuate(t)
}
