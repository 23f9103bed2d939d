package target

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/qemu"
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

// setLimits sets the limits of disks that the command line does not say. A launcher may have named the devices otherwise.
func setLimits(ctx context.Context, g *guest, client *qemu.Client) error {
	var all []inventory.Limits
	for _, l := range g.p.Limits {
		all = append(all, inventory.Limits(l))
	}
	err := inventory.SetLimits(ctx, client, all)
	if err != nil && g.r.cfg.Launcher != "" {
		g.log.Warn("the launcher must set them", "err", err)
		return nil
	}
	return err
}

// outlineOf is what the guest's QEMU says of its disks and devices.
func outlineOf(g *guest) (o inventory.Outline, err error) {
	client, _, _ := g.grip.held()
	if client == nil {
		return o, errors.New("its monitor is closed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), system.QMPTimeout)
	defer cancel()
	if o, err = inventory.ReadOutline(ctx, client); err != nil {
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
