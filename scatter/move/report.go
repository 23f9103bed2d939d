package move

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// report sums the evacuation up.
func (e reporting) report() *model.Report {
	r := &model.Report{TotalTimeS: time.Since(e.Started).Seconds(), Pages: e.Pages}
	s, left := e.Sender.Stats(), e.meter.read()
	r.MulticastBytes, r.UnicastBytes, r.RepairBytes = left.multicast, left.unicast, left.repair
	r.ConvergeBytes, r.ControlBytes, r.SourceBytes = left.converge, left.control, left.sum()
	r.Group = model.GroupStats{Count: e.Schedule.GroupCount(), Joins: int64(s.Joins), Leaves: int64(s.Leaves)}
	r.Plan.PredictedBytes, r.Plan.PredictedTimeS = e.Public.PredictedBytes, e.Public.PredictedTimeS
	for i, v := range e.migrants {
		line := e.reportVM(v)
		planned := e.Public.VMs[i]
		line.PredictedS, line.PredictedMS, line.PlannedMode, line.ModeReason = planned.TimeS, planned.DowntimeMS, planned.Mode, planned.ModeReason
		if line.PostCopy != nil {
			line.PostCopy.PredictedS = planned.ExposedS
		}
		r.Pages.Resent += v.resent()
		r.VMs = append(r.VMs, line)
	}
	for _, s := range e.Stays {
		r.VMs = append(r.VMs, model.VMReport{Name: s.Name, State: s.State.String(), Cause: s.Cause(), Stages: []model.StageTime{}})
	}
	if e.Cfg.Deadline > 0 {
		r.Deadline = &model.Deadline{S: e.Cfg.Deadline.Seconds(), Met: r.TotalTimeS <= e.Cfg.Deadline.Seconds() && r.Outcome() < model.SomeStay}
	}
	for _, l := range e.Links {
		h, used := e.reportHost(l.Name(), s.Targets[l.Name()]), l.Used.Since()
		h.CPUS, h.MemoryBytes = used.CPU, used.Memory
		r.Hosts = append(r.Hosts, h)
	}
	used := system.OwnUsage()
	r.CPUS, r.MemoryBytes = used.CPU, used.Memory
	e.Warnings.Mu.Lock()
	r.Warnings = append(r.Warnings, e.Warnings.List...)
	e.Warnings.Mu.Unlock()
	return r
}

// reportHost sums up how datagrams fared at a target, and warns of what its operator can mend.
func (e reporting) reportHost(name string, s multicast.TargetStats) model.HostReport {
	if s.Overflow > 0 {
		e.Tell(model.Event{Type: "warning", Host: name, Message: fmt.Sprintf("%d datagrams were dropped by the kernel of %s and repaired, because its "+
			"socket buffers were full: its processors are busy, or net.core.rmem_max is too small ('scatter check' there)", s.Overflow, name)})
	}
	return model.HostReport{Name: name, Joins: int64(s.Joins), Leaves: int64(s.Leaves), Unicast: int64(s.Fallbacks), Dropped: int64(s.Overflow)}
}

func (e reporting) reportVM(v *migrant) model.VMReport {
	v.mu.Lock()
	defer v.mu.Unlock()
	line := model.VMReport{Name: v.Name(), Host: e.HostName(v.Host), State: v.state.String(), Cause: system.Text(v.cause), Stages: v.stages,
		Passes: v.passes, Verified: v.digest, LeftOut: v.leftOut}
	v.throttled.set(time.Now(), 0)
	line.ThrottledS = v.throttled.sum.Seconds()
	if v.filter != nil {
		line.Bytes = v.filter.Sent.Load()
	}
	if !v.ran.IsZero() && !v.stopped.IsZero() {
		line.DowntimeMS = float64(v.ran.Sub(v.stopped).Microseconds()) / 1000
	}
	line.Mode = v.moved()
	if v.tookOver.Load() {
		w := v.filler.Waits()
		p := v.lacked
		p.Faults, p.FaultMS, p.MostMS = v.filler.Faults(), w.Median, w.Most
		line.PostCopy = &p
		if !v.filled.IsZero() && !v.ran.IsZero() {
			line.PostCopy.ExposedS = max(0, v.filled.Sub(v.ran).Seconds())
		}
	}
	return line
}

// moved is the mode in which a VM has moved, or was moving; v's mutex is held.
func (v *migrant) moved() model.Mode {
	switch {
	case v.tookOver.Load() && !v.Mode.TakesOver():
		return model.ModeHybrid
	case v.Mode == model.ModePre && v.throttled.sum > 0:
		return model.ModeThrottle
	case v.Mode == model.ModeThrottle && v.throttled.sum == 0, v.Mode == model.ModeHybrid && !v.tookOver.Load():
		return model.ModePre
	}
	return v.Mode
}

// progress tells once a second how far the evacuation is, until ctx ends.
func (e reporting) progress(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var last int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			sent := e.meter.read().sum()
			e.tellProgress(sent, sent-last)
			last = sent
		}
	}
}

// tellProgress tells each VM's pages that are in place, and the distinct bytes of all.
func (e reporting) tellProgress(sent, rate int64) {
	placed, pages := e.Tracker.Progress()
	for i, v := range e.migrants {
		v.mu.Lock()
		state := v.state
		v.mu.Unlock()
		n := e.PagesOf[i]
		done := min(n.Zero+pages[i], n.Total)
		if state == handover.Evacuated {
			done = n.Total
		}
		e.Tell(model.Event{Type: "progress", VM: v.Name(), Host: e.HostName(v.Host), Bytes: done * model.PageSize, Total: n.Total * model.PageSize})
	}
	e.Tell(model.Event{Type: "progress", Bytes: placed, Total: e.Schedule.Bytes, WireRate: rate, WireSent: sent})
}
