package bound

import "github.com/scatter-vm/scatter/placement/model"

// wanted is what units take together, wherever they are.
func wanted(in *model.Instance, units []int32) (sum model.Room) {
	for _, u := range units {
		x := &in.Units[u]
		sum.Memory += x.Claim
		if in.Shared {
			sum.Memory += x.Own
		}
		sum.VCPUs += x.VCPUs
		sum.VMs += int64(x.Count)
	}
	return sum
}
