package rewrite

import (
	"slices"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/inventory/parts"
)

// Finding is why a machine cannot be moved as it is now.
type Finding struct {
	Problem string // names the part of the machine
	Remedy  string
	Risk    bool // it could be moved all the same, and something would be lost
}

// Command makes the command line that starts a machine as the inventory has it, out of the one that it was started with: what
// has not changed is left as it was written. With findings that are no risks, the command line is not to be used.
func Command(inv *parts.Inventory, argv []string) ([]string, []Finding) {
	if len(argv) == 0 {
		return nil, []Finding{{Problem: "its command line is not known"}}
	}
	r := &rewriting{inv: inv}
	for _, a := range cmdline.Arguments(argv[1:]) {
		r.add(parseOption(a))
	}
	d := &devices{rewriting: r, anon: r.withoutID()}
	for _, part := range []func(){
		machineOptions{r}.rewrite, backends{r}.rewrite, d.rewrite, interruptions{r}.refuse, // devices before what they stand on
	} {
		part()
	}
	if !slices.ContainsFunc(inv.Jobs, func(j parts.Job) bool { return !j.Ended() }) { // a job has nodes of its own in between
		drives{r}.rewrite()
		rewriteNodes(r, d)
	}
	out := []string{argv[0]}
	for _, o := range r.options {
		out = append(out, o.words()...)
	}
	return out, r.findings
}

// rewriting is a machine, the command line that is to make it, step by step, and what stands in the way.
type rewriting struct {
	inv *parts.Inventory
	line
	findings []Finding
}

// cannot notes what cannot be moved as it is.
func (r *rewriting) cannot(problem, remedy string) {
	r.findings = append(r.findings, Finding{Problem: problem, Remedy: remedy})
}

// risk is cannot for what can be lost without harm to the guest.
func (r *rewriting) risk(problem, remedy string) {
	r.findings = append(r.findings, Finding{Problem: problem, Remedy: remedy, Risk: true})
}
