package source

import (
	"encoding/binary"
	"net/netip"

	"github.com/scatter-vm/scatter/multicast/groups"
)

// ownGroups is where the groups of an evacuation begin unless the operator says so: one of as many parts of 239.77.0.0/16 as there are, so that two
// sources hardly ever load each other's targets.
func ownGroups(id [8]byte, most int) netip.Addr {
	part := 1
	for part < max(most, groups.DefaultGroups) {
		part *= 2
	}
	parts := max(1, 1<<16/part)
	at := uint16(binary.BigEndian.Uint64(id[:])%uint64(parts)) * uint16(part)
	return netip.AddrFrom4([4]byte{239, 77, byte(at >> 8), byte(at)})
}
