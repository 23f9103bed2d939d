package system

import (
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/model"
)

func TestMatchBlocks(t *testing.T) {
	found := []qemu.RAMBlock{{ID: "vga", Host: 1 << 20}, {ID: "pc.ram", Host: 1 << 21}, {ID: "acpi"}}
	got, err := MatchBlocks([]stream.RAMBlock{{Name: "pc.ram", Length: 8 * model.PageSize}, {Name: "acpi", Length: model.PageSize}}, found)
	want := []RAMBlock{{Name: "pc.ram", Length: 8 * model.PageSize, Index: 1}, {Name: "acpi", Length: model.PageSize, Index: 2, Hidden: true}}
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] || got[0].Pages() != 8 {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, l := range map[string]stream.RAMBlock{
		"unknown": {Name: "nvdimm", Length: model.PageSize}, "odd": {Name: "pc.ram", Length: model.PageSize + 1}, "huge": {Name: "pc.ram", Length: MaxGuestPages * model.PageSize},
	} {
		if _, err := MatchBlocks([]stream.RAMBlock{l}, found); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
