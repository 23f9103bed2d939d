package qemu

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"
)

func discoverLaunched(t testing.TB, p *Process) *VM {
	t.Helper()
	p.Client.Close()
	vm, c, err := Discover(t.Context(), p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return vm
}

func TestDiscover(t *testing.T) {
	p := launch(t, "-M", "pc", "-m", "16", "-smp", "2")
	vm := discoverLaunched(t, p)
	t.Logf("%+v", vm)
	if vm.Name != "vm1" || vm.PID != p.PID || vm.VCPUs != 2 || vm.MemoryBytes != 16<<20 || vm.Status != "inmigrate" {
		t.Errorf("vm %+v", vm)
	}
	if !slices.Contains(vm.Argv, "-incoming") || vm.Version[0] < 7 || vm.StartTime == 0 {
		t.Errorf("vm %+v", vm)
	}
}

func TestMemory(t *testing.T) {
	p := launch(t, "-M", "pc", "-m", "16")
	vm := discoverLaunched(t, p)
	m, err := OpenMemory(vm.PID, vm.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for i, b := range vm.Blocks {
		z, err := m.IsZero(i)
		var runs [][2]uint32
		err2 := m.Populated(i, func(f, n uint32) error { runs = append(runs, [2]uint32{f, n}); return nil })
		t.Log(b.ID, b.Pages(), z, err, runs, err2)
	}
	buf := make([]byte, 100*PageSize)
	rand.Read(buf)
	if err := m.WritePages(0, 7, 100, buf); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(buf))
	if err := m.ReadPages(0, 7, 100, got); err != nil || !bytes.Equal(got, buf) {
		t.Fatal(err)
	}
}
