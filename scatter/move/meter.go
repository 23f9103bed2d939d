package move

import (
	"sync/atomic"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// meter counts what has left the source. Whoever tells of it reads it here.
type meter struct {
	sender  *multicast.Sender
	control *atomic.Int64 // bytes of all connections, below TLS, the VMs' streams among them
	streams atomic.Int64  // of these
}

// traffic is bytes on the wire with all their headers, by what they were for.
type traffic struct{ multicast, unicast, repair, probe, converge, control int64 }

// sum is all of it.
func (t traffic) sum() int64 {
	return t.multicast + t.unicast + t.repair + t.probe + t.converge + t.control
}

// read is what has left by now.
func (m *meter) read() traffic {
	s, streams := m.sender.Stats(), m.streams.Load()
	return traffic{multicast: int64(s.Multicast), unicast: int64(s.Unicast), repair: int64(s.Repair), probe: int64(s.Probe),
		converge: planning.TCPBytes(streams), control: planning.TCPBytes(m.control.Load() - streams)}
}
