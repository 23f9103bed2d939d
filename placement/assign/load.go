package assign

import "github.com/scatter-vm/scatter/placement/model"

// Load is what the units on a host take.
type Load struct {
	Claim, VCPUs, VMs int64
	Bytes             int64 // of classes, units' own included
	Units             int
}

// add counts a unit's sizes, or with sign -1 no longer.
func (l *Load) add(u *model.Unit, sign int64) {
	l.Claim += sign * u.Claim
	l.VCPUs += sign * u.VCPUs
	l.VMs += sign * int64(u.Count)
	l.Bytes += sign * u.Own
	l.Units += int(sign)
}

// Change is by how much a host's load grows, and the bytes to its rack.
type Change struct{ Claim, Bytes, Uplink, VCPUs, VMs int64 }

// Plus is both changes together.
func (c Change) Plus(d Change) Change {
	return Change{c.Claim + d.Claim, c.Bytes + d.Bytes, c.Uplink + d.Uplink, c.VCPUs + d.VCPUs, c.VMs + d.VMs}
}

// Traffic is by how much the bytes grow that cross links.
func (c Change) Traffic() int64 { return c.Bytes + c.Uplink }
