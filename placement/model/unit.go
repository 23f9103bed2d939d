package model

// Unit is one VM, or several that an affinity keeps together, or a cluster of such.
type Unit struct {
	Claim    int64 // memory it takes on any host: if shared what no class covers, else all
	Own      int64 // bytes of classes that lie within the unit
	VCPUs    int64
	Count    int // VMs
	Priority int
}

// Join adds another unit's sizes. The classes that lie within both together are for the caller to count.
func (u *Unit) Join(v *Unit) {
	if u.Count == 0 {
		*u = *v
		return
	}
	u.Claim += v.Claim
	u.Own += v.Own
	u.VCPUs += v.VCPUs
	u.Count += v.Count
	u.Priority = max(u.Priority, v.Priority)
}
