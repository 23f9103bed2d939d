package move

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/hypervisor/qmp"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/system"
)

// TestLoadedTellsWhyDisksAreNotKnown: without the target's list nothing is committed.
func TestLoadedTellsWhyDisksAreNotKnown(t *testing.T) {
	v := kit.StartQEMU(t, kit.SocketDir(t), "web", "-drive", "file="+kit.Image(t)+",format=raw,if=virtio,id=d0")
	e := checking{&Evacuation{}}
	facts := &qemu.VM{Name: "web"}
	s := migrantsOf([]*source.VM{{Facts: facts, Source: &qmp.Source{Client: v.Client, VM: facts}}})[0]
	told := func(m *control.Loaded) string {
		s.disks.Store(m)
		return system.Text(e.compareDisks(t.Context(), s))
	}
	ours, err := inventory.ReadOutline(t.Context(), v.Client)
	if err != nil {
		t.Fatal(err)
	}
	same := []control.Disk{{Device: "d0"}}
	for _, l := range ours.Disks[0].Layers {
		same[0].Layers = append(same[0].Layers, control.Layer(l))
	}
	renamed := []control.Disk{{Device: "d0", Layers: slices.Clone(same[0].Layers)}}
	for i := range renamed[0].Layers {
		renamed[0].Layers[i].File = filepath.Join("/elsewhere", filepath.Base(renamed[0].Layers[i].File))
	}
	for want, m := range map[string]*control.Loaded{
		"has not told what it has": nil,
		"monitor is closed":        {Error: "its monitor is closed"},
		"only the source has":      {},
		"the target has none":      {Devices: ours.Devices},
		"":                         {Devices: ours.Devices, Disks: same},
		"disk d0 differs":          {Devices: ours.Devices, Disks: renamed},
	} {
		if got := told(m); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := told(&control.Loaded{Devices: ours.Devices, Disks: renamed, Renamed: true}); got != "" {
		t.Errorf("with a launcher: %s", got)
	}
}
