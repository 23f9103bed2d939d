package inventory

import (
	"slices"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// Finding is why a machine cannot be moved as it is now.
type Finding struct {
	Problem string // names the part of the machine
	Remedy  string
	Risk    bool // it could be moved all the same, and something would be lost
}

// Command makes the command line that starts a machine as the inventory has it, out of the one that it was started with: what
// has not changed is left as it was written. With findings that are no risks, the command line is not to be used.
func Command(inv *Inventory, argv []string) ([]string, []Finding) {
	if len(argv) == 0 {
		return nil, []Finding{{Problem: "its command line is not known"}}
	}
	b := &builder{inv: inv}
	for _, a := range cmdline.Arguments(argv[1:]) {
		b.options = append(b.options, parseOption(a))
	}
	b.anon = b.anonymous()
	for _, part := range []func(){
		b.machine, b.processors, b.objects, b.chardevs, b.netdevs, b.devices, // devices before what they stand on
		b.running, b.bitmaps, b.displays,
	} {
		part()
	}
	if !slices.ContainsFunc(inv.Jobs, func(j Job) bool { return !j.ended() }) { // a job has nodes of its own in between
		b.drives()
		b.nodes()
	}
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
	plugged  []*option // devices that no option had made
	names    int       // of nodes that got one
}

func (b *builder) refuse(problem, remedy string) {
	b.findings = append(b.findings, Finding{Problem: problem, Remedy: remedy})
}

// risk is refuse for what can be lost without harm to the guest.
func (b *builder) risk(problem, remedy string) {
	b.findings = append(b.findings, Finding{Problem: problem, Remedy: remedy, Risk: true})
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
