//go:build lab

package families

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// ram returns the options that put all of a guest's memory behind one object.
func ram(mib int, kind, keys string) []string {
	return []string{"-machine", "memory-backend=ram0", "-object", fmt.Sprintf("memory-backend-%s,id=ram0,size=%dM%s", kind, mib, keys)}
}

// Where a guest's memory is makes no difference.
func TestLabMemoryBackends(t *testing.T) {
	const mib = 160
	configs := alike(3, lab.GuestConfig{Memory: mib, Workload: lab.SmallWorkload(0)})
	configs[0].Extra = ram(mib, "memfd", ",share=on")
	configs[1].Extra = ram(mib, "file", ",share=on,mem-path=/dev/shm")
	configs[2].Extra = ram(mib, "file", ",share=off,mem-path=/dev/shm")
	f := boot(t, configs...)
	f.evacuate(t)
}

// dimm is the size of a plugged module, in MiB. Only firmware and big systems look at it, so the test itself fills it.
const dimm = 128

// Several blocks of memory make no difference either. Emulated guests with several lose writes in any migration (QEMU 10.0), so these run
// on the host's processor.
func TestLabMemoryBlocks(t *testing.T) {
	if err := lab.NeedsKVM(); errors.Is(err, lab.ErrNoKVM) {
		t.Skip(err)
	}
	const mib = 16
	w := lab.Workload{Common: 4, Duplicate: 2, Own: 5, Zero: 1, Hot: 2, Dirty: 50, Verify: 4000}
	configs := alike(4, lab.GuestConfig{Memory: mib, Workload: w, Tiny: true, KVM: true})
	configs[0].Extra = ram(mib, "memfd", ",share=on")
	configs[1].Extra = ram(mib, "file", ",share=on,mem-path=/dev/shm")
	configs[2].Extra = []string{
		"-object", "memory-backend-ram,id=node0,size=8M", "-numa", "node,nodeid=0,cpus=0,memdev=node0",
		"-object", "memory-backend-memfd,id=node1,size=8M", "-numa", "node,nodeid=1,memdev=node1",
	}
	configs[3].Extra = []string{
		"-m", fmt.Sprintf("%d,slots=2,maxmem=1G", mib),
		"-object", fmt.Sprintf("memory-backend-ram,id=dimm0,size=%dM", dimm), "-device", "pc-dimm,memdev=dimm0",
	}
	f := boot(t, configs...)
	g := f.guests[3]
	filled := f.fillBlock(t, g, "dimm0")
	where := f.evacuate(t)
	if got := f.readBlock(t, g, where[3], "dimm0"); !bytes.Equal(got, filled) {
		t.Error("what the DIMM holds has changed on the way")
	}
}

// block opens the memory of the guest's QEMU on h, and returns where in it a RAM block is.
func (f *family) block(ctx context.Context, g *lab.Guest, h *lan.Host, name string) (*os.File, witness.RAMBlock, error) {
	ram, err := g.OpenRAM(ctx, h)
	if err != nil {
		return nil, witness.RAMBlock{}, err
	}
	defer ram.Close()
	i := slices.IndexFunc(ram.Blocks, func(b witness.RAMBlock) bool { return b.Name == name })
	sightings, err := f.Lab.Sightings(ctx, g)
	at := slices.IndexFunc(sightings, func(s lab.Sighting) bool { return s.Host == h })
	if err != nil || i < 0 || at < 0 {
		return nil, witness.RAMBlock{}, fmt.Errorf("guest %s on %s: no RAM block %s: %w", g.Name, h.Name, name, err)
	}
	file, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", sightings[at].PID), os.O_RDWR, 0)
	return file, ram.Blocks[i], err
}

// fillBlock fills a quarter of a RAM block of a guest on the source with bytes of chance, and returns all that it then holds.
func (f *family) fillBlock(t *testing.T, g *lab.Guest, name string) []byte {
	t.Helper()
	memory, b, err := f.block(t.Context(), g, f.Lab.Source, name)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	bytes := make([]byte, b.Length)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(bytes[:b.Length/4]) // never fails
	if _, err := memory.WriteAt(bytes[:b.Length/4], b.Host); err != nil {
		t.Fatal(err)
	}
	return bytes
}

// readBlock returns what a RAM block of a guest on h holds.
func (f *family) readBlock(t *testing.T, g *lab.Guest, h *lan.Host, name string) []byte {
	t.Helper()
	memory, b, err := f.block(t.Context(), g, h, name)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	bytes := make([]byte, b.Length)
	if _, err := memory.ReadAt(bytes, b.Host); err != nil {
		t.Fatal(err)
	}
	return bytes
}
