package problem

import (
	"fmt"
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
	switch p.Objective {
	case "", Traffic, Makespan, Hosts:
	default:
		return Invalid(fmt.Sprintf("%q is none of traffic, makespan, hosts", p.Objective), "objective")
	}
	switch p.Capacity {
	case "", Sum, Shared:
	default:
		return Invalid(fmt.Sprintf("%q is neither sum nor shared", p.Capacity), "capacity")
	}
	switch {
	case !(p.Headroom >= 0 && p.Headroom <= 1):
		return Invalid("must be 0 to 1", "memory_headroom")
	case !(p.Balance >= 0 && p.Balance <= 1000):
		return Invalid("must be 0 to 1000", "balance")
	case !(p.Overcommit >= 0 && p.Overcommit <= 1000):
		return Invalid("must be 0 to 1000", "vcpu_overcommit")
	case p.SourceBPS < 0:
		return Invalid("negative", "source_bps")
	}
	if p.Budget < 0 || p.Budget > 24*time.Hour {
		return Invalid("must be 0 to 24 h", "budget_ns")
	}
	return nil
}

func (p *Problem) validateVMs() error {
	seen := map[string]bool{}
	var total int64
	for i, v := range p.VMs {
		switch {
		case v.Name == "":
			return Invalid("empty", "vms[%d].name", i)
		case seen[v.Name]:
			return Invalid(fmt.Sprintf("%q occurs twice", v.Name), "vms[%d].name", i)
		case v.Memory < 0 || v.Memory > MaxBytes-total:
			return Invalid("negative or too large", "vms[%d].memory_bytes", i)
		case v.VCPUs < 0 || v.VCPUs > 1<<20:
			return Invalid("negative or too large", "vms[%d].vcpus", i)
		}
		seen[v.Name] = true
		total += v.Memory
	}
	return nil
}

func (p *Problem) validateHosts() error {
	seen, resident := map[string]bool{}, map[string]bool{}
	for i, h := range p.Hosts {
		switch {
		case h.Name == "":
			return Invalid("empty", "hosts[%d].name", i)
		case seen[h.Name]:
			return Invalid(fmt.Sprintf("%q occurs twice", h.Name), "hosts[%d].name", i)
		case h.Memory < 0 || h.Memory > MaxBytes:
			return Invalid("negative or too large", "hosts[%d].memory_bytes", i)
		case h.VCPUs < 0:
			return Invalid("negative", "hosts[%d].vcpus", i)
		case h.MaxVMs < 0:
			return Invalid("negative", "hosts[%d].max_vms", i)
		case h.LinkBPS < 0:
			return Invalid("negative", "hosts[%d].link_bps", i)
		}
		seen[h.Name] = true
		for _, r := range h.Residents {
			if resident[r] {
				return Invalid(fmt.Sprintf("%q lives on two hosts", r), "hosts[%d].residents", i)
			}
			resident[r] = true
		}
	}
	return nil
}

func (p *Problem) validateClasses() error {
	owners := 0
	var total int64
	for i, c := range p.Classes {
		if owners += len(c.VMs); owners > MaxOwners {
			return Invalid(fmt.Sprintf("more than %d owners", MaxOwners), "classes")
		}
		for _, v := range c.VMs {
			if v < 0 || v >= len(p.VMs) {
				return Invalid(fmt.Sprintf("vm %d of %d", v, len(p.VMs)), "classes[%d].vms", i)
			}
		}
		if n := int64(max(len(c.VMs), 1)); c.Bytes < 0 || c.Bytes > (MaxBytes-total)/n {
			return Invalid("negative or too large", "classes[%d].bytes", i)
		} else {
			total += c.Bytes * n
		}
	}
	return nil
}
