package problem

import (
	"fmt"
	"slices"
	"time"
)

// Validate checks limits and references, so that later stages need not. The error is an *InvalidError.
func (p *Problem) Validate() error {
	for _, check := range []func() error{p.validateSizes, p.validateOptions, p.validateVMs, p.validateHosts, p.validateClasses} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Problem) validateSizes() error {
	for _, s := range []struct {
		field string
		n     int
		most  int
	}{
		{"vms", len(p.VMs), MaxVMs},
		{"hosts", len(p.Hosts), MaxHosts},
		{"classes", len(p.Classes), MaxClasses},
		{"constraints", len(p.Constraints), MaxConstraints},
		{"vms and classes times hosts", (len(p.VMs) + len(p.Classes)) * len(p.Hosts), MaxCells},
	} {
		if s.n > s.most {
			return Invalid(fmt.Sprintf("%d, at most %d", s.n, s.most), "%s", s.field)
		}
	}
	return nil
}

func (p *Problem) validateOptions() error {
	switch {
	case !slices.Contains([]string{"", Traffic, Makespan, Hosts}, p.Objective):
		return Invalid(fmt.Sprintf("%q is none of traffic, makespan, hosts", p.Objective), "objective")
	case !slices.Contains([]string{"", Sum, Shared}, p.Capacity):
		return Invalid(fmt.Sprintf("%q is neither sum nor shared", p.Capacity), "capacity")
	case !(p.Headroom >= 0 && p.Headroom <= 1):
		return Invalid("must be 0 to 1", "memory_headroom")
	case !(p.Balance >= 0 && p.Balance <= 1000):
		return Invalid("must be 0 to 1000", "balance")
	case !(p.Overcommit >= 0 && p.Overcommit <= 1000):
		return Invalid("must be 0 to 1000", "vcpu_overcommit")
	case p.SourceBPS < 0:
		return Invalid("negative", "source_bps")
	case p.Budget < 0 || p.Budget > 24*time.Hour:
		return Invalid("must be 0 to 24 h", "budget_ns")
	}
	return nil
}

func (p *Problem) validateVMs() error {
	seen := names{}
	var total int64
	for i := range p.VMs {
		v := &p.VMs[i]
		if err := seen.add(v.Name, "vms[%d].name", i); err != nil {
			return err
		}
		if err := v.validateSizes(i, MaxBytes-total); err != nil {
			return err
		}
		total += v.Memory
	}
	return nil
}

// validateSizes refuses more memory than what is left of all VMs' most.
func (v *VM) validateSizes(i int, left int64) error {
	switch {
	case v.Memory < 0 || v.Memory > left:
		return Invalid("negative or too large", "vms[%d].memory_bytes", i)
	case v.VCPUs < 0 || v.VCPUs > 1<<20:
		return Invalid("negative or too large", "vms[%d].vcpus", i)
	}
	return nil
}

// names are those that were seen.
type names map[string]bool

// add refuses a name that is empty or was seen.
func (n names) add(name, field string, i int) error {
	switch {
	case name == "":
		return Invalid("empty", field, i)
	case n[name]:
		return Invalid(fmt.Sprintf("%q occurs twice", name), field, i)
	}
	n[name] = true
	return nil
}

func (p *Problem) validateHosts() error {
	seen, resident := names{}, map[string]bool{}
	for i := range p.Hosts {
		h := &p.Hosts[i]
		if err := seen.add(h.Name, "hosts[%d].name", i); err != nil {
			return err
		}
		if err := h.validateSizes(i); err != nil {
			return err
		}
		for _, r := range h.Residents {
			if resident[r] {
				return Invalid(fmt.Sprintf("%q lives on two hosts", r), "hosts[%d].residents", i)
			}
			resident[r] = true
		}
	}
	return nil
}

func (h *Host) validateSizes(i int) error {
	switch {
	case h.Memory < 0 || h.Memory > MaxBytes:
		return Invalid("negative or too large", "hosts[%d].memory_bytes", i)
	case h.VCPUs < 0:
		return Invalid("negative", "hosts[%d].vcpus", i)
	case h.MaxVMs < 0:
		return Invalid("negative", "hosts[%d].max_vms", i)
	case h.LinkBPS < 0:
		return Invalid("negative", "hosts[%d].link_bps", i)
	}
	return nil
}

func (p *Problem) validateClasses() error {
	owners := 0
	var total int64
	for i := range p.Classes {
		c := &p.Classes[i]
		if owners += len(c.VMs); owners > MaxOwners {
			return Invalid(fmt.Sprintf("more than %d owners", MaxOwners), "classes")
		}
		if err := c.validateOwners(i, len(p.VMs)); err != nil {
			return err
		}
		n := int64(max(len(c.VMs), 1))
		if c.Bytes < 0 || c.Bytes > (MaxBytes-total)/n {
			return Invalid("negative or too large", "classes[%d].bytes", i)
		}
		total += c.Bytes * n
	}
	return nil
}

func (c *Class) validateOwners(i, vms int) error {
	for _, v := range c.VMs {
		if v < 0 || v >= vms {
			return Invalid(fmt.Sprintf("vm %d of %d", v, vms), "classes[%d].vms", i)
		}
	}
	return nil
}
