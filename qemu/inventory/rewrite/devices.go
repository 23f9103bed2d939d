package rewrite

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/inventory/parts"
)

// devices are the options that make the guest's devices.
type devices struct {
	*rewriting
	anon []*option // those without an id, in the order in which QEMU made them
}

// device is the option that made the device at a path, or the one that the path is below; nil if none did.
func (ds *devices) device(path string) *option {
	if rest, ok := strings.CutPrefix(path, parts.Peripheral); ok {
		id, _, _ := strings.Cut(rest, "/")
		return ds.withID("device", id)
	}
	if i := parts.AnonymousIndex(path); i >= 0 && i < len(ds.anon) {
		return ds.anon[i]
	}
	return nil
}

// rewrite takes away what was unplugged and adds what was plugged in. As soon as one device has gone, all others are told
// where they are, for QEMU would give them the free places.
func (ds *devices) rewrite() {
	made := map[*option]*parts.Device{}
	var plugged []*parts.Device
	for i := range ds.inv.Devices {
		d := &ds.inv.Devices[i]
		if o := ds.device(d.Path); o != nil && !d.Plugged { // an id may be another device's by now
			made[o] = d
			ds.state(o, d)
		} else if !ds.console(d) {
			plugged = append(plugged, d)
		}
	}
	removed := false
	for _, o := range ds.options {
		if (o.Name == "device" || slices.Contains(ds.anon, o)) && made[o] == nil {
			removed = true
		}
	}
	if removed {
		ds.unplug(made)
	}
	for _, d := range plugged {
		ds.plug(d)
	}
}

// console tells whether a device is the one that -debugcon makes, an ISA device, which nothing plugs or unplugs.
func (ds *devices) console(d *parts.Device) bool {
	return d.ID == "debugcon" && !d.Plugged && len(ds.all("debugcon")) > 0
}

// unplug removes the options of devices that are gone, and tells all others their places.
func (ds *devices) unplug(made map[*option]*parts.Device) {
	for _, o := range slices.Clone(ds.options) {
		isDevice := o.Name == "device" || slices.Contains(ds.anon, o)
		switch d := made[o]; {
		case isDevice && d == nil:
			ds.remove(o)
		case isDevice && o.Name == "drive":
			ds.split(o, d)
		case isDevice && d.ID == "" && strings.HasPrefix(d.Type, "usb-") && !o.has("port"):
			ds.cannot(fmt.Sprintf("device %s (%s): QEMU does not tell its port, and another device was unplugged", d, d.Type), "plug the other one in again (device_add)")
		case isDevice:
			ds.place(o, d)
		}
	}
}

// split makes a device of its own out of -drive if=virtio, which cannot be told its place.
func (ds *devices) split(o *option, d *parts.Device) {
	id := o.get("id")
	for _, drive := range ds.inv.Drives {
		if drive.Device == d.Path {
			id = drive.Name
		}
	}
	o.set("if", "none")
	o.set("id", id)
	device := parseOption(cmdline.Argument{Name: "device", Value: "driver=" + d.Type, HasValue: true})
	device.set("drive", id)
	ds.place(device, d)
	ds.add(device) // QEMU makes the disks of drives after all other devices without JSON
	ds.anon[slices.Index(ds.anon, o)] = device
}

// state says what was set while the machine ran.
func (ds *devices) state(o *option, d *parts.Device) {
	for name, v := range d.State {
		now, ok := v.(float64)
		if ok && number(o.get(name), parts.StateUnsaid(name)) != now {
			o.set(name, wholeNumber(now))
		}
	}
}

// number reads a number as QEMU does, with a suffix for sizes; otherwise if there is none.
func number(text string, otherwise float64) float64 {
	digits := strings.TrimRight(text, "BKMGTkmgtb")
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return otherwise
	}
	if suffix := strings.ToUpper(strings.TrimPrefix(text, digits)); suffix != "" {
		n *= float64(int64(1) << (10 * max(0, strings.Index("BKMGT", suffix[:1]))))
	}
	return n
}

func (ds *devices) place(o *option, d *parts.Device) {
	if d.Bus != "" && !o.has("bus") {
		o.set("bus", d.Bus)
	}
	for _, key := range slices.Sorted(maps.Keys(d.Place)) {
		if !o.has(key) {
			o.set(key, d.Place[key])
		}
	}
}

// plug adds an option for a device that came while the machine ran.
func (ds *devices) plug(d *parts.Device) {
	tree := map[string]any{"driver": d.Type}
	maps.Copy(tree, d.Settings)
	maps.Copy(tree, d.Place)
	if d.ID != "" {
		tree["id"] = d.ID
	}
	if d.Bus != "" {
		tree["bus"] = d.Bus
	}
	for key, v := range tree {
		if f, ok := v.(float64); ok {
			tree[key] = wholeNumber(f)
		}
	}
	if !d.Plugged {
		ds.cannot(fmt.Sprintf("device %s (%s): no option of the command line made it", d, d.Type), "unplug it (device_del)")
	}
	for _, c := range ds.inv.Slots {
		if c.Path == d.Path {
			maps.Copy(tree, c.Place)
		}
	}
	o := newOption("device", tree)
	ds.add(o)
	if d.ID == "" {
		ds.anon = append(ds.anon, o)
	}
}

// wholeNumber keeps JSON from writing large numbers with an exponent.
func wholeNumber(f float64) any {
	if f == float64(int64(f)) {
		return int64(f)
	}
	return f
}
