package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
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

// machine pins the machine type to its version: "pc" is another one in every QEMU. The accelerator is pinned where
// the command line leaves a choice.
func (b *builder) machine() {
	var last *option
	for _, o := range b.all("machine", "M") {
		if o.get("type") != "" {
			last = o
		}
	}
	switch {
	case b.inv.Machine == "":
	case last != nil && last.get("type") != b.inv.Machine:
		last.set("type", b.inv.Machine)
	case last == nil:
		o := parseOption(cmdline.Argument{Name: "machine", Value: b.inv.Machine, HasValue: true})
		b.options = slices.Insert(b.options, 0, o)
	}
	b.accelerator()
}

func (b *builder) accelerator() {
	is := map[bool]string{true: "kvm", false: "tcg"}[b.inv.KVM]
	for _, o := range b.all("machine", "M") {
		if strings.Contains(o.get("accel"), ":") {
			o.set("accel", is)
		}
	}
	if all := b.all("accel"); len(all) > 1 {
		for _, o := range all {
			if o.get("accel") != is {
				b.remove(o)
			}
		}
	}
}

// processors makes -smp say how many processors the machine has that were not plugged in one by one.
func (b *builder) processors() {
	n, last, total := 0, -1, 0
	for i, s := range b.inv.Slots {
		total += s.CPUs
		if strings.HasPrefix(s.Path, "/machine/unattached/") {
			n, last = n+s.CPUs, i
		}
	}
	all := b.all("smp")
	if n == 0 || n >= bootCPUs(all) {
		return
	}
	for _, s := range b.inv.Slots[:last] {
		if !strings.HasPrefix(s.Path, "/machine/unattached/") {
			b.refuse(fmt.Sprintf("a processor of the command line was unplugged that is not the last one (%v)", s.Place), "plug it in again (device_add)")
			return
		}
	}
	o := all[len(all)-1]
	o.set("cpus", n)
	o.set("maxcpus", total)
}

// bootCPUs is how many processors -smp makes at the start.
func bootCPUs(smp []*option) int {
	product := 1
	for _, key := range []string{"sockets", "drawers", "books", "dies", "clusters", "modules", "cores", "threads"} {
		product *= max(1, count(smp, key))
	}
	return cmp.Or(count(smp, "cpus"), count(smp, "maxcpus"), product)
}

// count is what the last of some options says for a key, 0 if none says anything.
func count(all []*option, key string) (n int) {
	for _, o := range all {
		if v, err := strconv.Atoi(o.get(key)); err == nil {
			n = v
		}
	}
	return n
}
