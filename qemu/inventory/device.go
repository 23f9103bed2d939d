package inventory

import (
	"strconv"
	"strings"
)

// device is the option that made the device at a QOM path, nil if none did.
func (b *builder) device(path string) *option {
	if id, ok := strings.CutPrefix(path, peripheral); ok {
		for _, o := range b.all("device") {
			if o.get("id") == id {
				return o
			}
		}
		return nil
	}
	index, ok := strings.CutPrefix(path, anonymous+"device[")
	i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
	if ok && err == nil && i < len(b.anon) {
		return b.anon[i]
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
	return append(append(plain, disks...), inJSON...)
}
