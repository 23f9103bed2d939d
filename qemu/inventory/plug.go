package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// device is the option that made the device at a path, or the one that the path is below; nil if none did.
func (b *builder) device(path string) *option {
	if rest, ok := strings.CutPrefix(path, peripheral); ok {
		id, _, _ := strings.Cut(rest, "/")
		return b.withID("device", id)
	}
	if i := anonymousIndex(path); i >= 0 && i < len(b.anon) {
		return b.anon[i]
	}
	return nil
}

// withID is the option of a name that has an id, nil if there is none.
func (b *builder) withID(name, id string) *option {
	for _, o := range b.all(name) {
		if o.get("id") == id {
			return o
		}
	}
	return nil
}

// anonymous are the options that made devices without an id, in QEMU's order: those in JSON come last, after the
// devices of -drive if=virtio.
func (b *builder) anonymous() []*option {
	var plain, disks, inJSON []*option
	for _, o := range b.options {
		switch {
		case o.Name == "device" && o.get("id") == "" && o.tree == nil:
			plain = append(plain, o)
		case o.Name == "device" && o.get("id") == "":
			inJSON = append(inJSON, o)
		case o.Name == "drive" && o.get("if") == "virtio":
			disks = append(disks, o)
		}
	}
	return slices.Concat(plain, disks, inJSON)
}

// devices takes away what was unplugged and adds what was plugged in. As soon as one device has gone, all others are told
// where they are, for QEMU would give them the free places.
func (b *builder) devices() {
	made := map[*option]*Device{}
	var plugged []*Device
	for i := range b.inv.Devices {
		d := &b.inv.Devices[i]
		if o := b.device(d.Path); o != nil && !d.Plugged { // an id may be another device's by now
			made[o] = d
			b.state(o, d)
		} else if !b.console(d) {
			plugged = append(plugged, d)
		}
	}
	removed := false
	for _, o := range b.options {
		if (o.Name == "device" || slices.Contains(b.anon, o)) && made[o] == nil {
			removed = true
		}
	}
	if removed {
		b.unplug(made)
	}
	for _, d := range plugged {
		b.plug(d)
	}
}

// console tells whether a device is the one that -debugcon makes, an ISA device, which nothing plugs or unplugs.
func (b *builder) console(d *Device) bool {
	return d.ID == "debugcon" && !d.Plugged && len(b.all("debugcon")) > 0
}

// unplug removes the options of devices that are gone, and tells all others their places.
func (b *builder) unplug(made map[*option]*Device) {
	for _, o := range slices.Clone(b.options) {
		isDevice := o.Name == "device" || slices.Contains(b.anon, o)
		switch d := made[o]; {
		case isDevice && d == nil:
			b.remove(o)
		case isDevice && o.Name == "drive":
			b.split(o, d)
		case isDevice && d.ID == "" && strings.HasPrefix(d.Type, "usb-") && !o.has("port"):
			b.refuse(fmt.Sprintf("device %s (%s): QEMU does not tell its port, and another device was unplugged", d, d.Type), "plug the other one in again (device_add)")
		case isDevice:
			b.place(o, d)
		}
	}
}

// split makes a device of its own out of -drive if=virtio, which cannot be told its place.
func (b *builder) split(o *option, d *Device) {
	id := o.get("id")
	for _, drive := range b.inv.Drives {
		if drive.Device == d.Path {
			id = drive.Name
		}
	}
	o.set("if", "none")
	o.set("id", id)
	device := parseOption(cmdline.Argument{Name: "device", Value: "driver=" + d.Type, HasValue: true})
	device.set("drive", id)
	b.place(device, d)
	b.options = append(b.options, device) // QEMU makes the disks of drives after all other devices without JSON
	b.anon[slices.Index(b.anon, o)] = device
}

// state says what was set while the machine ran.
func (b *builder) state(o *option, d *Device) {
	for name, v := range d.State {
		now, ok := v.(float64)
		if ok && number(o.get(name), states[name]) != now {
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

func (b *builder) place(o *option, d *Device) {
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
func (b *builder) plug(d *Device) {
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
		b.refuse(fmt.Sprintf("device %s (%s): no option of the command line made it", d, d.Type), "unplug it (device_del)")
	}
	for _, c := range b.inv.Slots {
		if c.Path == d.Path {
			maps.Copy(tree, c.Place)
		}
	}
	o := newOption("device", tree)
	b.add(o)
	if d.ID == "" {
		b.anon = append(b.anon, o)
	}
	b.plugged = append(b.plugged, o)
}

// wholeNumber keeps JSON from writing large numbers with an exponent.
func wholeNumber(f float64) any {
	if f == float64(int64(f)) {
		return int64(f)
	}
	return f
}
