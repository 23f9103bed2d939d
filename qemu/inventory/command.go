package inventory

import (
	"slices"

	"github.com/scatter-vm/scatter/qemu"
)

// Finding is why a machine cannot be moved as it is now.
type Finding struct {
	Problem string // names the part of the machine
	Remedy  string
}

// Command makes the command line that starts a machine as the inventory has it, out of the one that it was started with: what
// has not changed is left as it was written. With findings, the command line is not to be used.
func Command(inv *Inventory, argv []string) ([]string, []Finding) {
	if len(argv) == 0 {
		return nil, []Finding{{Problem: "its command line is not known"}}
	}
	b := &builder{inv: inv}
	for _, a := range qemu.Arguments(argv[1:]) {
		b.options = append(b.options, parseOption(a))
	}
	b.anon = b.anonymous()
	b.machine()
	b.drives()
	b.nodes()
	out := []string{argv[0]}
	for _, o := range b.options {
		out = append(out, o.words()...)
	}
	return out, b.findings
}

// builder changes a command line step by step.
type builder struct {
	inv      *Inventory
	options  []*option
	findings []Finding
	anon     []*option // devices without an id, in the order in which QEMU made them
	names    int       // of nodes that got one
}

func (b *builder) refuse(problem, remedy string) {
	b.findings = append(b.findings, Finding{problem, remedy})
}

// all is the options of some names, in order.
func (b *builder) all(names ...string) []*option {
	var some []*option
	for _, o := range b.options {
		if slices.Contains(names, o.Name) {
			some = append(some, o)
		}
	}
	return some
}

func (b *builder) add(o *option) { b.options = append(b.options, o) }

func (b *builder) remove(gone *option) {
	b.options = slices.DeleteFunc(b.options, func(o *option) bool { return o == gone })
}

// machine pins the machine type to its version: "pc" is another one in every QEMU.
func (b *builder) machine() {
	var last *option
	for _, o := range b.all("machine", "M") {
		if o.first("type") != "" {
			last = o
		}
	}
	switch {
	case b.inv.Machine == "":
	case last != nil && last.get("type") != b.inv.Machine:
		last.set("type", b.inv.Machine)
	case last == nil:
		o := parseOption(qemu.Argument{Name: "machine", Value: b.inv.Machine, HasValue: true})
		b.options = slices.Insert(b.options, 0, o)
	}
}
