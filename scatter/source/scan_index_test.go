package source

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// TestInvariant6IndexCostsLittle: what the source keeps for each page of guest RAM, from the scan to the end.
func TestInvariant6IndexCostsLittle(t *testing.T) {
	const vms, pages, filled = 4, 1 << 15, 1024
	e := &Scanned{Seed: 7}
	e.Log = mustConfig(t).Log
	rnd := rand.New(rand.NewPCG(1, 1))
	for vm := range vms {
		b, mem := kit.OwnRAM(t, pages)
		for range filled {
			kit.Stamp(b[rnd.IntN(pages)*model.PageSize:], uint64(1+rnd.IntN(3*filled)))
		}
		e.VMs = append(e.VMs, &VM{Index: vm, Facts: &qemu.VM{Name: "vm"}, Mem: mem, Blocks: []system.RAMBlock{{Name: "pc.ram", Length: pages * model.PageSize}}})
	}
	before := kit.Heap()
	if err := e.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if each := float64(kit.Heap()-before) / (vms * pages); each > 24 {
		t.Errorf("%.1f bytes for each page", each)
	}
	if s := e.Index.Stats(); s.Pages != vms*pages || s.Shared == 0 || e.Held.Get(dedup.Page(0)) != 0 {
		t.Errorf("scanned %+v", s)
	}
	runtime.KeepAlive(e)
}
