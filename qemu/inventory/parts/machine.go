package parts

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/monitor"
)

// Slot is a place for a virtual processor.
type Slot struct {
	Path  string         // of the processor in it, "" if there is none
	CPUs  int            // that it holds
	Place map[string]any // socket-id, core-id, ...
}

func (inv *Inventory) readMachine(ctx context.Context, m Monitor) error {
	var machine string
	if err := m.Do(ctx, "qom-get", map[string]string{"path": "/machine", "property": "type"}, &machine); err != nil {
		return err
	}
	inv.Machine = strings.TrimSuffix(machine, "-machine")
	var kvm struct {
		Enabled bool `json:"enabled"`
	}
	if err := m.Do(ctx, "query-kvm", nil, &kvm); err != nil {
		return err
	}
	inv.KVM = kvm.Enabled
	if v, err := get(ctx, m, "/machine", "memory-backend"); err == nil {
		path, _ := v.(string)
		inv.RAM = strings.TrimPrefix(path, "/objects/")
	}
	return inv.readSlots(ctx, m)
}

// readSlots reads the places for processors in their order. Machines that know no such places have none.
func (inv *Inventory) readSlots(ctx context.Context, m Monitor) error {
	var all []struct {
		Path  string         `json:"qom-path"`
		CPUs  int            `json:"vcpus-count"`
		Place map[string]any `json:"props"`
	}
	err := m.Do(ctx, "query-hotpluggable-cpus", nil, &all)
	if _, refused := errors.AsType[*monitor.QMPError](err); refused {
		return nil
	}
	for _, s := range slices.Backward(all) { // QEMU tells the last first
		delete(s.Place, "node-id") // -numa has it
		for k, v := range s.Place {
			if f, ok := v.(float64); ok {
				s.Place[k] = int64(f)
			}
		}
		inv.Slots = append(inv.Slots, Slot{s.Path, max(1, s.CPUs), s.Place})
	}
	return err
}
