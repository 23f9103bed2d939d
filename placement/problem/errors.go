package problem

import (
	"fmt"
	"strings"
)

// Resources that an InfeasibleError names.
const (
	Memory = "memory"
	VCPUs  = "vcpus"
	VMSlot = "max_vms"
)

// InfeasibleError says that the VMs cannot all be placed.
type InfeasibleError struct {
	VMs         []string // that conflict: with any of them gone, the others could be placed
	Constraints []int    // that take part, indices into Problem.Constraints
	Names       []string // of these constraints
	Resources   []string // that fall short: "memory", "vcpus", "max_vms"
	Proven      bool     // otherwise the search found no placement, but one may exist
}

// Error names the VMs, what they are short of, and the constraints.
func (e *InfeasibleError) Error() string {
	var b strings.Builder
	b.WriteString("no placement")
	if !e.Proven {
		b.WriteString(" found")
	}
	fmt.Fprintf(&b, " for %s", list(e.VMs, "vm"))
	if len(e.Resources) > 0 {
		fmt.Fprintf(&b, ": short of %s", strings.Join(e.Resources, ", "))
	}
	if len(e.Names) > 0 {
		fmt.Fprintf(&b, ": %s", list(e.Names, "constraint"))
	}
	return b.String()
}

// list joins names, and only counts those beyond the fifth.
func list(names []string, noun string) string {
	const most = 5
	if len(names) == 1 {
		return noun + " " + names[0]
	}
	if len(names) > most {
		return fmt.Sprintf("%d %ss (%s, ...)", len(names), noun, strings.Join(names[:most], ", "))
	}
	return noun + "s " + strings.Join(names, ", ")
}

// InvalidError says which part of the problem makes no sense.
type InvalidError struct {
	Field string // as in "vms[3].memory_bytes"
	Cause string
}

// Error names the field.
func (e *InvalidError) Error() string { return "placement: " + e.Field + ": " + e.Cause }

// Invalid is the error about a field, whose name is formatted.
func Invalid(cause, field string, args ...any) error {
	return &InvalidError{Field: fmt.Sprintf(field, args...), Cause: cause}
}
