package view

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/scatter"
)

// board is what is known about a running evacuation, put together from its events. Renderers and the
// handler of Ctrl-C read it while events arrive.
type board struct {
	mu    sync.Mutex // guards all below
	vms   []vmLine   // in order of appearance
	total vmLine     // of the evacuation; its Name is empty
	wire  int64      // bytes/s that leave the source
	pace  pace
}

// vmLine is one VM's line.
type vmLine struct {
	Name, Host, Stage string
	Bytes, Total      int64
}

// between are the stages in which a VM is paused, on its way from one host to the other.
var between = []string{"switch-over", "verify", "commit", "released", "starting", "run", "resolving", "undoing", "reverting"}

func newBoard() *board { return &board{} }

// apply takes an event into account and tells whether it changed a stage.
func (b *board) apply(e scatter.Event) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Type == "scan" {
		return false // it is no part of the way
	}
	if e.WireRate > 0 {
		b.wire = e.WireRate
	}
	line := &b.total
	if e.VM != "" {
		line = b.line(e.VM)
	}
	changed = e.Stage != "" && e.Stage != line.Stage
	b.update(line, e)
	if e.Type == "progress" && e.VM == "" {
		b.pace.add(e.Time, e.Bytes)
	}
	if b.allThere() { // even if less than predicted had to be sent
		b.total.Bytes = b.total.Total
	}
	return changed
}

func (b *board) line(vm string) *vmLine {
	i := slices.IndexFunc(b.vms, func(l vmLine) bool { return l.Name == vm })
	if i < 0 {
		i = len(b.vms)
		b.vms = append(b.vms, vmLine{Name: vm})
	}
	return &b.vms[i]
}

func (b *board) update(l *vmLine, e scatter.Event) {
	if e.Stage != "" {
		l.Stage = e.Stage
	}
	if e.Host != "" {
		l.Host = e.Host
	}
	if e.Type == "progress" {
		l.Bytes, l.Total = e.Bytes, max(e.Total, l.Total)
	}
	if l.Stage == "evacuated" {
		l.Bytes = l.Total
	}
}

// read copies the VMs' lines and the total.
func (b *board) read() ([]vmLine, vmLine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.vms), b.total
}

// read1 copies one VM's line.
func (b *board) read1(vm string) vmLine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *b.line(vm)
}

// speed is what leaves the source in bytes/s, and the seconds left; < 0 means not known.
func (b *board) speed() (wire int64, eta float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wire, b.pace.eta(b.total.Total - b.total.Bytes)
}

// allThere tells whether every VM is evacuated; mu is held.
func (b *board) allThere() bool {
	return len(b.vms) > 0 && !slices.ContainsFunc(b.vms, func(l vmLine) bool { return l.Stage != "evacuated" })
}

// between lists the VMs that are between two hosts, with their stages.
func (b *board) between() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var vms []string
	for _, l := range b.vms {
		if slices.Contains(between, l.Stage) {
			vms = append(vms, l.Name+" ("+l.Stage+")")
		}
	}
	return vms
}

// paceWindow is the time over which the pace is smoothed.
const paceWindow = 5 * time.Second

// pace is the smoothed speed of a counter.
type pace struct {
	at    time.Time
	count int64
	rate  float64 // per second
	known bool
}

// add takes a reading; it may come from a counter that was set back.
func (p *pace) add(at time.Time, count int64) {
	dt := at.Sub(p.at).Seconds()
	if p.at.IsZero() || dt <= 0 {
		if p.at.IsZero() {
			p.at, p.count = at, count
		}
		return
	}
	now := float64(count-p.count) / dt
	weight := 1 - math.Exp(-dt/paceWindow.Seconds())
	if !p.known {
		weight, p.known = 1, true
	}
	p.rate += weight * (now - p.rate)
	p.at, p.count = at, count
}

// eta is the seconds that left takes at this pace, < 0 when that is not known.
func (p *pace) eta(left int64) float64 {
	if left <= 0 {
		return 0
	}
	if !p.known || p.rate <= 0 {
		return -1
	}
	return float64(left) / p.rate
}
