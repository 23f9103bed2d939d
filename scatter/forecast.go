package scatter

import "time"

// forecast is what an evacuation is expected to take.
type forecast struct {
	bytes int64         // on the source's link
	time  time.Duration // of all; 0 = the rate is not known
	hosts []int64       // bytes on each host's link
	vms   []vmForecast
}

// vmForecast is the same for one VM.
type vmForecast struct {
	time     time.Duration // when it runs on its host; 0 = the rate is not known
	downtime time.Duration
}

// wireOverhead is what datagram headers and their seal add to the contents, as a share.
const wireOverhead = 0.045

func onWire(contents int64) int64 { return int64(float64(contents) * (1 + wireOverhead)) }

// forecastOf is the forecast of a plan of which only the problem is known.
func forecastOf(problem *Problem, p *plan, rate int64) forecast {
	f := forecast{bytes: onWire(p.bytes), vms: make([]vmForecast, len(problem.VMs))}
	for h := range problem.Hosts {
		f.hosts = append(f.hosts, onWire(p.delivered(h)))
	}
	if rate == 0 {
		return f
	}
	f.time = seconds(float64(f.bytes) / float64(rate))
	return f
}

// forecast is the forecast of the evacuation's plan.
func (e *evacuation) forecast() forecast {
	f := forecastOf(e.posed, e.plan, 0)
	for vm := range e.vms {
		n := int64(float64(e.hot[vm])*PageSize*1.03) + deviceBytes
		f.bytes += n
		if h := e.vms[vm].host; h >= 0 {
			f.hosts[h] += n
		}
	}
	if r := e.cfg.Rate; r > 0 {
		f.time = seconds(float64(f.bytes) / float64(r))
	}
	for vm := range e.vms {
		f.vms[vm].downtime = e.predictedDowntime(vm)
	}
	return f
}

// deviceBytes is a usual size of what a VM sends beside its pages.
const deviceBytes = 200 << 10

func (e *evacuation) predictedDowntime(vm int) time.Duration {
	d := 2 * fixedPerStop
	if r := e.cfg.Rate; r > 0 {
		d += seconds(float64(e.hot[vm]*PageSize+deviceBytes) / float64(r))
	}
	return min(d, e.cfg.Downtime)
}
