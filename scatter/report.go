package scatter

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/multicast"
)

// report sums the evacuation up.
func (e *evacuation) report() *Report {
	r := &Report{TotalTimeS: time.Since(e.started).Seconds(), Pages: e.pages}
	s := e.sender.Stats()
	r.MulticastBytes, r.UnicastBytes, r.RepairBytes = int64(s.Multicast), int64(s.Unicast), int64(s.Repair)
	converge := e.convergeBytes.Load()
	r.ConvergeBytes = tcpBytes(converge)
	r.ControlBytes = tcpBytes(e.controlBytes.Load() - converge)
	r.SourceBytes = r.MulticastBytes + r.UnicastBytes + r.RepairBytes + r.ConvergeBytes + r.ControlBytes + int64(s.Probe)
	r.Group = GroupStats{Count: e.plan.groups(), Joins: int64(s.Joins), Leaves: int64(s.Leaves)}
	r.Plan.PredictedBytes, r.Plan.PredictedTimeS = e.public.PredictedBytes, e.public.PredictedTimeS
	for i, v := range e.vms {
		line := e.reportVM(v)
		line.PredictedS, line.PredictedMS = e.public.VMs[i].TimeS, e.public.VMs[i].DowntimeMS
		r.Pages.Resent += v.resent()
		r.VMs = append(r.VMs, line)
	}
	for _, s := range e.stays {
		r.VMs = append(r.VMs, VMReport{Name: s.name, State: s.state.String(), Cause: s.cause(), Stages: []StageTime{}})
	}
	for _, l := range e.links {
		h, used := e.reportHost(l.name(), s.Targets[l.name()]), l.used.since()
		h.CPUS, h.MemoryBytes = used.cpu, used.memory
		r.Hosts = append(r.Hosts, h)
	}
	used := ownUsage()
	r.CPUS, r.MemoryBytes = used.cpu, used.memory
	e.warnings.mu.Lock()
	r.Warnings = append(r.Warnings, e.warnings.list...)
	e.warnings.mu.Unlock()
	return r
}

// reportHost sums up how datagrams fared at a target, and warns of what its operator can mend.
func (e *evacuation) reportHost(name string, s multicast.TargetStats) HostReport {
	if s.Overflow > 0 {
		e.tell(Event{Type: "warning", Host: name, Message: fmt.Sprintf("%d datagrams were dropped by the kernel of %s and repaired, because its "+
			"socket buffers were full: its processors are busy, or net.core.rmem_max is too small ('scatter check' there)", s.Overflow, name)})
	}
	return HostReport{Name: name, Joins: int64(s.Joins), Leaves: int64(s.Leaves), Unicast: int64(s.Fallbacks), Dropped: int64(s.Overflow)}
}

// tcpBytes adds to n bytes of a TLS connection what TCP, IP and Ethernet add in full segments.
func tcpBytes(n int64) int64 { return n + n*tcpHeaders/1448 }

// tcpHeaders is what a full TCP segment has beside its data: TCP with time stamps, IP, Ethernet.
const tcpHeaders = 32 + 20 + 14

func (p *plan) groups() int {
	n := 0
	for _, c := range p.channels {
		n += flag(c.group.IsValid())
	}
	return n
}

func (e *evacuation) reportVM(v *sourceVM) VMReport {
	v.mu.Lock()
	defer v.mu.Unlock()
	line := VMReport{Name: v.name(), Host: e.hostName(v), State: v.state.String(), Cause: text(v.cause), Stages: v.stages,
		Passes: v.passes, Verified: v.digest, LeftOut: v.leftOut}
	if v.filter != nil {
		line.Bytes = v.filter.sent.Load()
	}
	if !v.ran.IsZero() && !v.stopped.IsZero() {
		line.DowntimeMS = float64(v.ran.Sub(v.stopped).Microseconds()) / 1000
	}
	return line
}

func (v *sourceVM) resent() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.filter == nil {
		return 0
	}
	return v.filter.resent.Load()
}

// progress tells once a second how far the evacuation is, until ctx ends.
func (e *evacuation) progress(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var last int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s := e.sender.Stats()
			sent := int64(s.Multicast+s.Unicast+s.Repair+s.Probe) + tcpBytes(e.controlBytes.Load())
			e.tellProgress(sent, sent-last)
			last = sent
		}
	}
}

// tellProgress tells each VM's pages that are in place, and the distinct bytes of all.
func (e *evacuation) tellProgress(sent, rate int64) {
	placed, pages := e.tracker.progress()
	for i, v := range e.vms {
		v.mu.Lock()
		state := v.state
		v.mu.Unlock()
		n := e.pagesOf[i]
		done := min(n.Zero+pages[i], n.Total)
		if state == evacuated {
			done = n.Total
		}
		e.tell(Event{Type: "progress", VM: v.name(), Host: e.hostName(v), Bytes: done * PageSize, Total: n.Total * PageSize})
	}
	e.tell(Event{Type: "progress", Bytes: placed, Total: e.plan.bytes, WireRate: rate, WireSent: sent})
}
