package scatter

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
)

// takeStock finds out what the VM consists of now, and how a QEMU is started that is the same. What cannot be said on a
// command line, or must not be interrupted, is told all at once, as a *BlockedError.
func (v *sourceVM) takeStock(ctx context.Context) error {
	inv, err := inventory.Read(ctx, v.client, fmt.Sprintf("/proc/%d/root", v.vm.PID))
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	argv, err := inventory.Expand(v.vm.Argv, v.vm.PID)
	if err != nil {
		return Blocker{VM: v.name(), Problem: err.Error(), Remedy: "write the options of the file on its command line"}
	}
	var findings []inventory.Finding
	v.argv, findings = inventory.Command(inv, argv)
	memory, err := qemu.MemoryOf(v.argv)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	v.vm.MemoryBytes = max(v.vm.MemoryBytes, uint64(memory))
	v.written = nil
	for _, n := range inv.Written() {
		v.written = append(v.written, control.File{Path: n.File, Inode: n.Inode})
	}
	v.limits = nil
	for _, l := range inventory.LimitsOf(inv) {
		v.limits = append(v.limits, control.Limits(l))
	}
	var blockers []Blocker
	for _, f := range findings {
		blockers = append(blockers, Blocker{VM: v.name(), Problem: f.Problem, Remedy: f.Remedy, Risk: f.Risk})
	}
	if blockers == nil {
		return nil
	}
	return &BlockedError{blockers}
}

// maxDisks and maxLayers bound what is told of disks.
const (
	maxDisks  = 1024
	maxLayers = 4096 // of all disks together
)

// compareDisks is the last look before commit: the target must have the disks and devices that the stopped VM has now. A
// difference means that the guest would go on with others.
func (e *evacuation) compareDisks(ctx context.Context, v *sourceVM) error {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	ours, err := inventory.ReadOutline(ctx, v.client)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	theirs := v.disks.Load()
	switch {
	case theirs == nil:
		err = errors.New("the target has not told what it has")
	case theirs.Error != "":
		err = fmt.Errorf("target: %s", theirs.Error)
	default:
		err = inventory.Compare(ours, inventory.Outline{Disks: disksOf(theirs.Disks), Devices: theirs.Devices}, sameName(theirs))
	}
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return nil
}

// sameName tells whether two names mean the same file, after what the target says of its names; nil if that cannot be told.
func sameName(m *control.Loaded) func(source, target string) bool {
	var p qemu.LaunchPolicy
	for _, r := range m.Rewrites {
		p.Rewrites = append(p.Rewrites, qemu.Rewrite{From: r.From, To: r.To})
	}
	if m.Renamed {
		return nil
	}
	return func(source, target string) bool {
		return p.RewriteDisk(source) == qemu.LaunchPolicy{}.RewriteDisk(target)
	}
}

// loadedMessage tells the source that the guest is complete, and which disks it has here.
func (g *guest) loadedMessage() control.Loaded {
	m := control.Loaded{VM: g.key.vm, Renamed: g.r.cfg.Launcher != ""}
	for _, r := range g.r.cfg.Policy.Rewrites {
		m.Rewrites = append(m.Rewrites, control.Rewrite{From: r.From, To: r.To})
	}
	outline, err := g.outline()
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
func (g *guest) setLimits(ctx context.Context, client *qemu.Client) error {
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

func (g *guest) outline() (o inventory.Outline, err error) {
	g.mu.Lock()
	client := g.client
	g.mu.Unlock()
	if client == nil {
		return o, errors.New("its monitor is closed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), qmpTimeout)
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

func disksOf(told []control.Disk) []inventory.Disk {
	disks := make([]inventory.Disk, len(told))
	for i, d := range told {
		disks[i].Device = d.Device
		for _, l := range d.Layers {
			disks[i].Layers = append(disks[i].Layers, inventory.Layer(l))
		}
	}
	return disks
}
