package inventory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/inventory/parts"
)

// Limits are the limits of a disk that has no -drive. A command line cannot say them; they are set when QEMU has started.
type Limits struct {
	Device string            // as block_set_io_throttle takes it, on the target
	Group  string            // disks that share the limits; "" = none
	Values map[string]uint64 // by the names of block_set_io_throttle
}

// LimitsOf lists the limits that are to be set on a QEMU that Command's command line has started.
func LimitsOf(inv *Inventory) []Limits {
	var all []Limits
	for _, d := range inv.Drives {
		if d.Name != "" || len(d.Limits) == 0 {
			continue
		}
		all = append(all, Limits{Device: onTarget(inv, d.Backend), Group: d.Group, Values: maps.Clone(d.Limits)})
	}
	return all
}

// onTarget is the path that a device has on the target, where those without an id are counted anew.
func onTarget(inv *Inventory, path string) string {
	number := parts.AnonymousIndex(path)
	if number < 0 {
		return path
	}
	rank := 0
	for _, d := range inv.Devices {
		if i := parts.AnonymousIndex(d.Path); i >= 0 && i < number {
			rank++
		}
	}
	return strings.Replace(path, fmt.Sprintf("device[%d]", number), fmt.Sprintf("device[%d]", rank), 1)
}

// SetLimits sets the limits of disks of a QEMU that waits for a migration. Only what block_set_io_throttle knows as a limit is set.
func SetLimits(ctx context.Context, m Monitor, all []Limits) error {
	for _, l := range all {
		arguments := map[string]any{"id": l.Device}
		for _, name := range strings.Fields("bps bps_rd bps_wr iops iops_rd iops_wr") { // must be given
			arguments[name] = uint64(0)
		}
		if l.Group != "" {
			arguments["group"] = l.Group
		}
		for name, v := range l.Values {
			if !slices.Contains(parts.LimitNames, name) {
				return fmt.Errorf("limits of disk %.100s: %.100q is none", l.Device, name)
			}
			arguments[name] = v
		}
		if err := m.Do(ctx, "block_set_io_throttle", arguments, nil); err != nil {
			return fmt.Errorf("limits of disk %.100s: %w", l.Device, err)
		}
	}
	return nil
}
