// Package outlet is what evacuations of one process share that leave by the same interface.
package outlet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/multicast/groups"
)

// Outlet is what the evacuations of one process have in common that leave by the same interface, at one time or one after the other: one pacer, so
// that all together keep to one rate, and the multicast addresses that are in use. The zero value is not ready, see New.
type Outlet struct {
	Pacer *multicast.Pacer

	mu   sync.Mutex          // guards what follows
	used map[netip.Addr]bool // first addresses of evacuations that are under way
}

// New makes an outlet for so many bytes/s on the wire in all; 0 = what the path carries.
func New(rate int64) *Outlet {
	return &Outlet{Pacer: multicast.NewPacer(rate, 0), used: make(map[netip.Addr]bool)}
}

// GroupsFor reserves addresses for an evacuation that uses at most so many groups, and returns the first. They begin at base or, if others that are
// under way have these, behind them; without a base somewhere in 239.77.0.0/16, by the evacuation's number, so that two sources hardly ever
// load each other's targets. release gives them back.
func (o *Outlet) GroupsFor(id [8]byte, base netip.Addr, most int) (first netip.Addr, release func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	part := max(most, groups.DefaultGroups)
	if !base.IsValid() {
		for part&(part-1) != 0 {
			part++ // to a power of two
		}
		base = ownGroups(id, part)
	}
	for first = base; o.used[first]; {
		if first, err = behind(first, part); err != nil {
			return first, nil, err
		}
	}
	o.used[first] = true
	return first, sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.used, first)
	}), nil
}

// ownGroups is where the groups of an evacuation begin unless the operator says so: at one of as many parts of 239.77.0.0/16 as there are, each of
// which has part addresses, a power of two.
func ownGroups(id [8]byte, part int) netip.Addr {
	parts := max(1, 1<<16/part)
	at := uint16(binary.BigEndian.Uint64(id[:])%uint64(parts)) * uint16(part)
	return netip.AddrFrom4([4]byte{239, 77, byte(at >> 8), byte(at)})
}

// behind is the address n behind another.
func behind(a netip.Addr, n int) (netip.Addr, error) {
	b := a.AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+uint32(n))
	next, _ := netip.AddrFromSlice(b)
	if !next.IsMulticast() || next.Less(a) {
		return a, fmt.Errorf("no multicast addresses are left behind %s: other evacuations of this program have them", a)
	}
	return next, nil
}
