package target

import (
	"context"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/system"
)

// loadedMessage tells the source that the guest is complete, and which disks it has here.
func loadedMessage(g *guest) control.Loaded {
	m := control.Loaded{VM: g.key.vm, Renamed: g.r.cfg.Launcher != ""}
	for _, r := range g.r.cfg.Policy.Rewrites {
		m.Rewrites = append(m.Rewrites, control.Rewrite{From: r.From, To: r.To})
	}
	vm, _, _ := g.grip.held()
	if vm == nil {
		m.Error = "its monitor is closed"
		return m
	}
	ctx, cancel := context.WithTimeout(context.Background(), system.QMPTimeout)
	defer cancel()
	var err error
	if m.Disks, m.Devices, err = hypervisor.TellOutline(ctx, vm); err != nil {
		m.Error = err.Error()
	}
	return m
}
