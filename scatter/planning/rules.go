package planning

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/model"
)

// Rules is what an operator knows of VMs and hosts that scatter cannot find out, and what must hold of their placement.
type Rules struct {
	VMs         map[string]VMRules   `json:"vms"` // by name
	Hosts       map[string]HostRules `json:"hosts"`
	Constraints []Constraint         `json:"constraints"`
	Headroom    float64              `json:"memory_headroom"` // part of each host's memory to keep free, 0 to 1
}

// VMRules is what is known of one VM.
type VMRules struct {
	Labels   map[string]string `json:"labels"`
	Priority int               `json:"priority"` // with SendConfig.Partial, higher goes first

	Mode          model.Mode `json:"mode"`            // in which it moves; "": as SendConfig says
	NeverPostCopy bool       `json:"never_post_copy"` // it must not run before all of its memory is there
}

// HostRules is what is known of one host. Memory, VCPUs and MaxVMs lower what the host itself offers; 0 leaves it.
type HostRules struct {
	Labels  map[string]string `json:"labels"`
	Rack    string            `json:"rack"`
	LinkBPS int64             `json:"link_bps"` // bits per second
	Memory  int64             `json:"memory_bytes"`
	VCPUs   int               `json:"vcpus"`
	MaxVMs  int               `json:"max_vms"`
}

// AddHosts adds what is known of hosts from elsewhere. What the rules say already stands.
func (r *Rules) AddHosts(hosts map[string]HostRules) {
	all := make(map[string]HostRules, len(hosts)+len(r.Hosts))
	maps.Copy(all, hosts)
	for name, ours := range r.Hosts {
		theirs := all[name]
		ours.Labels = merged(theirs.Labels, ours.Labels)
		ours.Rack, ours.LinkBPS = cmp.Or(ours.Rack, theirs.Rack), cmp.Or(ours.LinkBPS, theirs.LinkBPS)
		all[name] = ours
	}
	r.Hosts = all
}

// maxRulesBytes bounds a file of rules.
const maxRulesBytes = 16 << 20

// ReadRules reads rules as JSON. Fields that it does not know are errors.
func ReadRules(r io.Reader) (Rules, error) {
	var rules Rules
	b, err := readBounded(r, maxRulesBytes)
	if err != nil {
		return rules, err
	}
	return rules, strictly(b, &rules)
}

// RulesOf makes rules of what another format has decoded to, such as a TOML file's tables.
func RulesOf(tables map[string]any) (Rules, error) {
	var rules Rules
	b, err := json.Marshal(tables)
	if err != nil {
		return rules, err
	}
	return rules, strictly(b, &rules)
}

// Apply adds the rules to a problem. Names of VMs and hosts that are not part of it are passed over, and told: one file serves
// many evacuations. A pin none of whose hosts is there is a Blocker.
func (r *Rules) Apply(p *Problem) (passed []string, err error) {
	vmThere, hostThere := make(map[string]bool), make(map[string]bool)
	p.Headroom = cmp.Or(r.Headroom, p.Headroom)
	for i := range p.VMs {
		v := &p.VMs[i]
		vmThere[v.Name] = true
		v.Labels, v.Priority = merged(v.Labels, r.VMs[v.Name].Labels), cmp.Or(r.VMs[v.Name].Priority, v.Priority)
	}
	for i := range p.Hosts {
		h := &p.Hosts[i]
		hostThere[h.Name] = true
		for _, resident := range h.Residents {
			vmThere[resident] = true
		}
		r.Hosts[h.Name].apply(h)
	}
	tell := func(constraint, what string) {
		passed = append(passed, fmt.Sprintf("constraint %s: %s: passed over", constraint, what))
	}
	var found model.Problems
	for _, c := range r.Constraints {
		title := c.Name
		if title == "" {
			title = c.Kind
		}
		vms, hosts := c.VMs, c.Hosts
		c.VMs = keep(vms, vmThere, func(n string) { tell(title, "vm "+n+" neither moves nor runs on a target") })
		c.Hosts = keep(hosts, hostThere, func(n string) { tell(title, "host "+n+" is no target") })
		switch {
		case len(vms) > 0 && len(c.VMs) == 0 && len(c.Select) == 0:
		case len(hosts) > 0 && len(c.Hosts) == 0 && c.Kind == placement.Exclude:
		case len(hosts) > 0 && len(c.Hosts) == 0:
			found.Add(model.Blocker{Problem: fmt.Sprintf("constraint %s: none of its hosts is a target: %s", title, strings.Join(hosts, ", "))})
		default:
			p.Constraints = append(p.Constraints, c)
		}
	}
	return passed, found.Err()
}

// keep leaves the names that are there, and tells of the others.
func keep(names []string, there map[string]bool, gone func(string)) (kept []string) {
	for _, n := range names {
		if there[n] {
			kept = append(kept, n)
		} else {
			gone(n)
		}
	}
	return kept
}

func (r HostRules) apply(h *placement.Host) {
	h.Labels, h.Rack, h.LinkBPS = merged(h.Labels, r.Labels), cmp.Or(r.Rack, h.Rack), cmp.Or(r.LinkBPS, h.LinkBPS)
	if r.Memory > 0 {
		h.Memory = min(h.Memory, r.Memory)
	}
	h.VCPUs, h.MaxVMs = lower(h.VCPUs, r.VCPUs), lower(h.MaxVMs, r.MaxVMs)
}

// lower is the lower of two limits, 0 = none.
func lower(a, b int) int {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// merged is the labels of both; those of more win.
func merged(labels, more map[string]string) map[string]string {
	if len(more) == 0 {
		return labels
	}
	out := maps.Clone(more)
	for k, v := range labels {
		if _, ok := out[k]; !ok {
			out[k] = v
		}
	}
	return out
}
