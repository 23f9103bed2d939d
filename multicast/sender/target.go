package sender

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// target is a host that receives.
type target struct {
	name     string
	addr     netip.AddrPort
	window   int // bytes of blocks that it holds at most; 0 = not yet known
	live     bool
	keyed    int           // the last key epoch that it knows; -1 = none
	reported instant       // when its last report came
	every    time.Duration // it was told to let pass between reports
	lossy    float64       // loss at which it left a group that was too fast for it
	joint    bool          // datagrams that the system cuts out of bursts reach it
	apart    bool          // they do not, and others do
	stats    TargetStats
}

// roster is the targets, also those that have been ejected.
type roster struct {
	targets map[string]*target
	out     *outbox
}

// add makes a target known that is to report so often.
func (r *roster) add(name string, addr netip.AddrPort, every time.Duration) (*target, error) {
	if t := r.targets[name]; t != nil && t.live {
		return nil, fmt.Errorf("target %s: added twice", name)
	}
	if !addr.IsValid() || addr.Addr().IsMulticast() || addr.Addr().IsUnspecified() || addr.Port() == 0 {
		return nil, fmt.Errorf("target %s: %v is not a unicast address", name, addr)
	}
	t := &target{name: name, addr: addr, live: true, keyed: -1, every: every}
	r.targets[name] = t
	return t, nil
}

// live are the targets that have not been ejected, by name.
func (r *roster) live() []*target {
	live := make([]*target, 0, len(r.targets))
	for _, t := range r.targets {
		if t.live {
			live = append(live, t)
		}
	}
	slices.SortFunc(live, func(a, b *target) int { return cmp.Compare(a.name, b.name) })
	return live
}

// window is the least of the targets' windows, and of one's own.
func (r *roster) window(own int) int {
	for _, t := range r.targets {
		if t.live && t.window > 0 {
			own = min(own, t.window)
		}
	}
	return own
}

// know tells whether all live targets know a key epoch.
func (r *roster) know(number uint8) bool {
	for _, t := range r.targets {
		if t.live && t.keyed != int(number) {
			return false
		}
	}
	return true
}

const (
	// reportCost is the bytes that a report takes of a link with all its headers, more or less, and reportShare what all
	// reports may take of the source's.
	reportCost  = 200
	reportShare = 0.006
	maxReport   = 500 * time.Millisecond
)

// space keeps what all reports take of a link at a small share: many targets report less often.
func (r *roster) space(rate float64, least time.Duration) {
	live := r.live()
	every := time.Duration(float64(len(live)*reportCost) / (reportShare * rate) * float64(time.Second))
	every = min(max(every, least), maxReport)
	for _, t := range live {
		// small changes are not worth a message
		if every*5 < t.every*4 || every*4 > t.every*5 {
			t.every = every
			r.out.tell(t, wire.Every{Milliseconds: uint16(every.Milliseconds())}.Append(nil))
		}
	}
}
