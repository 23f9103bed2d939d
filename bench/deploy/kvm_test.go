//go:build lab

package deploy_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/cache"
)

// Guests on the host's own processor are evacuated like all others, also by QEMUs of an age that many hosts still have.
func TestLabKVM(t *testing.T) {
	if err := lab.NeedsKVM(); errors.Is(err, lab.ErrNoKVM) {
		t.Skip(err)
	}
	t.Run("installed", func(t *testing.T) { evacuateKVM(t, "") })
	t.Run("7.2", func(t *testing.T) { evacuateKVM(t, oldQEMU(t)) })
}

// oldQEMU returns QEMU 7.2, and skips the test where the distribution has none.
func oldQEMU(t *testing.T) string {
	t.Helper()
	path, err := cache.OldQEMU()
	if errors.Is(err, cache.ErrNoOldQEMU) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// evacuateKVM moves three guests to two hosts, brings them home and moves them once more, each time with all memory compared but for the
// clocks that KVM itself writes into it.
func evacuateKVM(t *testing.T, emulator string) {
	ctx := t.Context()
	l := newLab(t, lab.Config{Targets: 2, Rate: 500e6})
	var configs []lab.GuestConfig
	for i := range 3 {
		configs = append(configs, lab.GuestConfig{Name: fmt.Sprintf("kvm%d", i+1), Memory: 16, Workload: lab.TinyWorkload(i + 1),
			Tiny: true, KVM: true, QEMU: emulator})
	}
	d, guests := install(t, l, configs...)
	flags := []string{"--memory", "40MiB"} // of two guests, not of three
	if emulator != "" {
		flags = append(flags, "--qemu", emulator)
	}
	for range 2 {
		receivers, err := d.ReceiveAll(ctx, l.Targets, flags...)
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.Send(ctx, deploy.Job{Args: []string{"--verify", "--rate", "500mbit"}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Exit != 0 || r.Report == nil {
			t.Fatalf("exit %d: %s", r.Exit, r.Output)
		}
		for i, h := range arrived(t, d, guests) {
			vm := r.Report.VMs[i]
			// The firmware has asked for the one, and the guest for the other.
			if !vm.Verified || len(vm.LeftOut) != 2 || vm.LeftOut[0].Bytes != 32 || vm.LeftOut[1].Bytes != 12 || vm.LeftOut[0].Block != "pc.ram" {
				t.Errorf("guest %s: verified %v, but for %+v", guests[i].Name, vm.Verified, vm.LeftOut)
			}
			if h.Name != r.Report.VMs[i].Host {
				t.Errorf("guest %s is on %s, the report says %s", guests[i].Name, h.Name, r.Report.VMs[i].Host)
			}
		}
		t.Logf("%v, %d bytes, worst pause %v", r.Time, r.SourceBytes, r.WorstPause(guests))
		if err := d.Reset(ctx, receivers); err != nil {
			t.Fatal(err)
		}
	}
}
