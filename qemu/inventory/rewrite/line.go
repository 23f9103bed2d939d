package rewrite

import "slices"

// line is a command line while it is changed, without its program.
type line struct{ options []*option }

// all is the options of some names, in order.
func (l *line) all(names ...string) []*option {
	var some []*option
	for _, o := range l.options {
		if slices.Contains(names, o.Name) {
			some = append(some, o)
		}
	}
	return some
}

// withID is the option of a name that has an id, nil if there is none.
func (l *line) withID(name, id string) *option {
	for _, o := range l.all(name) {
		if o.get("id") == id {
			return o
		}
	}
	return nil
}

// add puts an option behind all others.
func (l *line) add(o *option) { l.options = append(l.options, o) }

// prepend puts an option before all others.
func (l *line) prepend(o *option) { l.options = slices.Insert(l.options, 0, o) }

// replace puts an option in the place of another.
func (l *line) replace(old, now *option) { l.options[slices.Index(l.options, old)] = now }

// remove takes an option away.
func (l *line) remove(gone *option) {
	l.options = slices.DeleteFunc(l.options, func(o *option) bool { return o == gone })
}

// withoutID are the options that made devices without an id, in QEMU's order: those in JSON come last, after the
// devices of -drive if=virtio.
func (l *line) withoutID() []*option {
	var plain, disks, inJSON []*option
	for _, o := range l.options {
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
