package source

import (
	"testing"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/outlet"
)

// TestOutletIsShared: evacuations that are under way at one time have addresses of their own, and one pacer.
func TestOutletIsShared(t *testing.T) {
	o := outlet.New(1 << 20)
	var evacuations [2]Scanned
	for i := range evacuations {
		cfg := Config{VMs: []string{"/vm"}, Targets: make([]model.TargetAddr, 1), RunDir: t.TempDir(), Outlet: o, Rate: 5}
		if err := evacuations[i].Configure(cfg); err != nil {
			t.Fatal(err)
		}
		defer evacuations[i].Release()
	}
	if a, b := &evacuations[0], &evacuations[1]; a.Pacer != b.Pacer || a.Rate() != 1<<20 || a.ExpectedRate() != 1<<20 || a.Cfg.GroupBase == b.Cfg.GroupBase {
		t.Errorf("rates %d and %d, groups from %s and %s", a.Rate(), b.Rate(), a.Cfg.GroupBase, b.Cfg.GroupBase)
	}
}
