package target

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/system"
)

// maxDisks and maxLayers bound what is told of disks.
const (
	maxDisks  = 1024
	maxLayers = 4096 // of all disks together
)

// loadedMessage tells the source that the guest is complete, and which disks it has here.
func loadedMessage(g *guest) control.Loaded {
	m := control.Loaded{VM: g.key.vm, Renamed: g.r.cfg.Launcher != ""}
	for _, r := range g.r.cfg.Policy.Rewrites {
		m.Rewrites = append(m.Rewrites, control.Rewrite{From: r.From, To: r.To})
	}
	outline, err := outlineOf(g)
	if err != nil {
		m.Error = err.Error()
		return m
	}
	m.Devices = outline.Devices
	for _, d := range outline.Disks {
		told := control.Disk{Device: d.Device}
		for _, l := range d.Layers {
			told.Layers = append(told.Layers, control.Layer(l))
		}
		m.Disks = append(m.Disks, told)
	}
	return m
}

// outlineOf is what the guest's QEMU says of its disks and devices.
func outlineOf(g *guest) (o inventory.Outline, err error) {
	vm, _, _ := g.grip.held()
	if vm == nil {
		return o, errors.New("its monitor is closed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), system.QMPTimeout)
	defer cancel()
	if o, err = vm.Outline(ctx); err != nil {
		return o, err
	}
	layers := 0
	for _, d := range o.Disks {
		layers += len(d.Layers)
	}
	if len(o.Disks) > maxDisks || layers > maxLayers {
		err = fmt.Errorf("%d disks with %d block nodes: at most %d with %d can be compared", len(o.Disks), layers, maxDisks, maxLayers)
	}
	return o, err
}
