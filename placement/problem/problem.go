// Package problem says what is to be placed: VMs with the classes of pages that they share, hosts, and what constrains where VMs may run. It
// knows which problems make sense, and how to say that one does not, or has no solution.
package problem

import "time"

// Limits of a Problem.
const (
	MaxVMs         = 65535
	MaxHosts       = 4096
	MaxClasses     = 1 << 22
	MaxOwners      = 1 << 28 // of all classes together
	MaxConstraints = 1 << 16
	MaxBytes       = 1 << 60 // of all VMs' memory, of all classes' bytes times owners, of a host
	MaxCells       = 1 << 28 // (VMs + classes) x hosts
)

// Objectives.
const (
	Traffic  = "traffic"  // bytes x links of the multicast tree, without the source's own; the default
	Makespan = "makespan" // time until the slowest link, the source's included, is done, then traffic
	Hosts    = "hosts"    // number of hosts used, then traffic
)

// Ways to count the memory that VMs take on a host.
const (
	Sum    = "sum"    // each VM takes its memory; the default
	Shared = "shared" // a host keeps each class once, and of each VM the memory that no class covers
)

// Kinds of constraints.
const (
	Pin          = "pin"           // VMs run on one of Hosts
	Exclude      = "exclude"       // VMs run on none of Hosts
	Affinity     = "affinity"      // VMs run on one host, together; names of residents mean the resident's host
	AntiAffinity = "anti-affinity" // at most Max of the VMs, residents counted, run on one host, or in one rack
	Label        = "label"         // VMs run on hosts that carry all Labels
)

// Scopes of an anti-affinity.
const (
	ScopeHost = "host" // the default
	ScopeRack = "rack" // a host without a rack is a rack of its own
)

// VM is a virtual machine to place.
type VM struct {
	Name     string            `json:"name"` // unique
	Memory   int64             `json:"memory_bytes"`
	VCPUs    int               `json:"vcpus,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Priority int               `json:"priority,omitempty"` // with Problem.Partial, higher goes first
}

// Host is a target. Memory, VCPUs and MaxVMs are what it offers beside its residents.
type Host struct {
	Name      string            `json:"name"` // unique
	Memory    int64             `json:"memory_bytes"`
	VCPUs     int               `json:"vcpus,omitempty"`    // 0 = unlimited
	MaxVMs    int               `json:"max_vms,omitempty"`  // 0 = unlimited
	LinkBPS   int64             `json:"link_bps,omitempty"` // bits per second; 0 = as fast as the fastest other, 10 Gbit/s if none
	Rack      string            `json:"rack,omitempty"`     // whose link is one more that classes cross; without one, the host hangs on the source's switch
	Labels    map[string]string `json:"labels,omitempty"`
	Residents []string          `json:"residents,omitempty"` // VMs that run there already
}

// Class is a set of VMs, by index into Problem.VMs, and the distinct bytes that exactly these VMs own.
type Class struct {
	VMs   []int `json:"vms"`
	Bytes int64 `json:"bytes"`
}

// Constraint restricts where VMs may run. It concerns the VMs it names and those that carry all labels of Select; all of
// them if it has neither.
type Constraint struct {
	Name   string            `json:"name,omitempty"` // for messages
	Kind   string            `json:"kind"`
	VMs    []string          `json:"vms,omitempty"`
	Select map[string]string `json:"select,omitempty"`
	Hosts  []string          `json:"hosts,omitempty"`  // pin, exclude
	Labels map[string]string `json:"labels,omitempty"` // label
	Scope  string            `json:"scope,omitempty"`  // anti-affinity
	Max    int               `json:"max,omitempty"`    // anti-affinity; 0 = 1
}

// Problem is what is to be solved.
type Problem struct {
	Comment     string       `json:"comment,omitempty"` // for people
	VMs         []VM         `json:"vms"`
	Hosts       []Host       `json:"hosts"`
	Classes     []Class      `json:"classes,omitempty"`
	Constraints []Constraint `json:"constraints,omitempty"`
	Objective   string       `json:"objective,omitempty"`       // "" = traffic
	Capacity    string       `json:"capacity,omitempty"`        // "" = sum
	Headroom    float64      `json:"memory_headroom,omitempty"` // part of each host's Memory to keep free, 0 to 1
	Balance     float64      `json:"balance,omitempty"`         // no host gets more than 1 + this times its share by free memory; 0 = whatever it has room for
	Overcommit  float64      `json:"vcpu_overcommit,omitempty"` // VMs may have so many times a host's VCPUs; 0 = 1
	SourceBPS   int64        `json:"source_bps,omitempty"`      // the source's link, which each class crosses once; 0 = never the slowest
	Partial     bool         `json:"partial,omitempty"`         // leave VMs out, the least important, rather than fail
	Seed        uint64       `json:"seed,omitempty"`

	// Budget is how long solving it may take, 0 = as long as pays for a problem of this size. It is turned into a number of
	// steps, so that the result stays reproducible; a machine on which these take longer is cut off by the clock. Only what must be
	// done to find any placement at all is not.
	Budget time.Duration `json:"budget_ns,omitempty"`
}

// Carries reports whether labels have all those wanted.
func Carries(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
