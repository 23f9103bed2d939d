package hypervisor

import (
	"context"
	"fmt"

	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
)

// maxDisks and maxLayers bound what is told of disks.
const (
	maxDisks  = 1024
	maxLayers = 4096 // of all disks together
)

// TellOutline is what a VM says of its disks and devices, as messages have it.
func TellOutline(ctx context.Context, vm interface {
	Outline(ctx context.Context) (inventory.Outline, error)
}) (disks []control.Disk, devices []string, err error) {
	o, err := vm.Outline(ctx)
	if err != nil {
		return nil, nil, err
	}
	layers := 0
	for _, d := range o.Disks {
		told := control.Disk{Device: d.Device}
		for _, l := range d.Layers {
			told.Layers = append(told.Layers, control.Layer(l))
		}
		layers += len(d.Layers)
		disks = append(disks, told)
	}
	if len(disks) > maxDisks || layers > maxLayers {
		return nil, nil, fmt.Errorf("%d disks with %d block nodes: at most %d with %d can be compared", len(disks), layers, maxDisks, maxLayers)
	}
	return disks, o.Devices, nil
}

// OutlineTold is the inverse of TellOutline.
func OutlineTold(disks []control.Disk, devices []string) inventory.Outline {
	o := inventory.Outline{Disks: make([]inventory.Disk, len(disks)), Devices: devices}
	for i, d := range disks {
		o.Disks[i].Device = d.Device
		for _, l := range d.Layers {
			o.Disks[i].Layers = append(o.Disks[i].Layers, inventory.Layer(l))
		}
	}
	return o
}
