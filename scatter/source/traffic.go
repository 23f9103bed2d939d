package source

import (
	"github.com/scatter-vm/scatter/qemu/traffic"
	"github.com/scatter-vm/scatter/scatter/modes"
)

// counting counts what a VM's guest sends and receives.
type counting struct {
	cards *traffic.Cards // nil: nothing can be counted, or it has not begun
	from  traffic.Reading
	why   error // it is not known
}

// countFrom begins to count, for a VM with so many networks.
func (v *VM) countFrom(networks int) {
	c := &v.counting
	if c.cards, c.why = traffic.Find(v.Facts.PID, networks); c.why == nil {
		c.from, c.why = c.cards.Read()
	}
}

// count sets what its guest has sent and received since.
func (v *VM) count() {
	v.Traffic = modes.Traffic{}
	c := &v.counting
	if c.cards == nil || c.why != nil {
		return
	}
	now, err := c.cards.Read()
	if err != nil {
		c.why = err
		return
	}
	rate, err := now.Since(c.from)
	if c.why = err; err == nil {
		v.Traffic = modes.Traffic{Sends: rate.Sent, Receives: rate.Received, Known: true}
	}
}

// countTraffic finds out what the guests send and receive, as far as it can be counted.
func (e *Party) countTraffic() {
	for _, v := range e.VMs {
		if v.count(); v.counting.why != nil {
			e.Log.Info("what its guest sends and receives is not known", "vm", v.Name(), "why", v.counting.why)
		}
	}
}
