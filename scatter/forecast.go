package scatter

import (
	"cmp"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// forecast is what an evacuation is expected to take.
type forecast struct {
	bytes int64         // on the source's link
	time  time.Duration // of all; 0 = the rate is not known
	hosts []int64       // bytes on each host's link
	vms   []vmForecast
}

// defaultParallel is how many VMs converge at one time.
const defaultParallel = 2

// vmForecast is the same for one VM.
type vmForecast struct {
	time     time.Duration // when it runs on its host; 0 = the rate is not known
	downtime time.Duration
}

// What an evacuation takes beside its contents. The first three are headers in full packets of 1500 bytes; the others were measured.
const (
	datagramHeaders = 14 + 20 + 8 + wire.Overhead // Ethernet, IP, UDP, the datagram's own
	datagramPayload = 1514 - datagramHeaders
	ownersOnWire    = 0.002 // of a block: who owns its pages

	linkUse      = 0.98                   // of a link: what pacing and pauses between groups leave
	prepareTime  = 200 * time.Millisecond // until a target's QEMU waits for pages
	convergeTime = 150 * time.Millisecond // passes, commit and run of a small VM
	endTime      = 60 * time.Millisecond  // connections, journal
	deviceBytes  = 200 << 10              // of a VM's stream beside its pages
	passTime     = 50 * time.Millisecond  // between two looks of QEMU at what is dirty, at the end

	// A VM goes on to rewrite pages as fast as between the two looks, but in the end not more than so many times those which it
	// rewrote there: programs return to the same memory.
	workingSet = 5
)

// onWire is what the payload of blocks takes on a link.
func onWire(payload float64) float64 { return payload * (1 + ownersOnWire) * 1514 / datagramPayload }

// forecaster plays an evacuation through. Times are seconds since it started.
type forecaster struct {
	vms      []forecastVM
	plan     *plan
	packed   compressibility
	rate     float64 // bytes/s, 0 = not known
	parallel int
	workers  int           // that make blocks
	begin    float64       // when bulk begins
	limit    time.Duration // of a pause

	out    forecast
	now    float64
	busy   []float64 // until when each converge slot is taken
	sentAt []float64 // by VM: when its contents were sent, weighted by bytes
	weight []float64
}

// forecastVM is what the forecast needs to know of a VM.
type forecastVM struct {
	host   int     // -1 = stays
	memory float64 // bytes that are not zero
	hot    float64 // pages that changed between the looks
	gap    float64 // seconds between these
}

// run plays the evacuation through.
func (f *forecaster) run() forecast {
	f.out.vms, f.out.hosts = make([]vmForecast, len(f.vms)), make([]int64, len(f.plan.hosts))
	f.sentAt, f.weight = make([]float64, len(f.vms)), make([]float64, len(f.vms))
	f.busy = make([]float64, max(1, f.parallel))
	f.now = f.begin
	f.converge(f.plan.endsAt[-1])
	press := newPress(&f.packed, f.rate, max(1, f.workers))
	for i, s := range f.plan.steps {
		sent := onWire(press.step(s, f.plan.classes[s.class].contents))
		began := f.now
		f.send(sent, f.plan.channels[s.channel].hosts)
		for _, vm := range f.plan.vmsOf(s) {
			f.sentAt[vm] += sent * (began + f.now) / 2
			f.weight[vm] += sent
		}
		f.converge(f.plan.endsAt[i])
	}
	end := max(f.now, slices.Max(f.busy))
	if f.rate > 0 {
		f.out.time = seconds(end + endTime.Seconds())
	}
	return f.out
}

// send has bytes cross the source's link and those of hosts.
func (f *forecaster) send(bytes float64, hosts []int) {
	f.out.bytes += int64(bytes)
	for _, h := range hosts {
		f.out.hosts[h] += int64(bytes)
	}
	if f.rate > 0 {
		f.now += bytes / (linkUse * f.rate)
	}
}

// converge has VMs converge whose contents are there, each as soon as one of the slots is free. What they send takes its share of the link.
func (f *forecaster) converge(vms []int) {
	for _, i := range vms {
		v := &f.vms[i]
		if v.host < 0 {
			continue
		}
		slot := slices.Index(f.busy, slices.Min(f.busy))
		begin := max(f.now, f.busy[slot])
		dirty := v.hot + f.dirtied(i, begin)
		stream := float64(tcpBytes(int64(dirty*PageSize) + deviceBytes))
		f.send(stream, []int{v.host})
		took := convergeTime.Seconds() + v.memory/filterSpeed
		if f.rate > 0 {
			took += stream / f.rate
			f.out.vms[i].time = seconds(begin + took)
		}
		f.out.vms[i].downtime = f.downtime(v)
		f.busy[slot] = begin + took
	}
}

// dirtied is how many pages that were sent the VM has rewritten until then.
func (f *forecaster) dirtied(vm int, until float64) float64 {
	v := &f.vms[vm]
	if v.gap == 0 || f.weight[vm] == 0 {
		return 0
	}
	age := until - f.sentAt[vm]/f.weight[vm]
	return min(v.hot/v.gap*age, workingSet*v.hot)
}

// downtime is the pause of a VM: what it rewrites in a last pass, and its devices.
func (f *forecaster) downtime(v *forecastVM) time.Duration {
	d := fixedPerStop
	if f.rate > 0 {
		last := 0.0
		if v.gap > 0 {
			last = v.hot / v.gap * passTime.Seconds() * PageSize
		}
		d += seconds((last + deviceBytes) / f.rate)
	}
	if f.limit > 0 {
		d = min(d, f.limit)
	}
	return d
}

// press plays the workers through that compress blocks: well where others wait for the link meanwhile, which depends on how fast that is, and what was in vain
// less often; else quickly, where that keeps up with the link, or not at all.
type press struct {
	packed *compressibility
	gains  []gain
	next   int
	share  float64 // of blocks that there is time to compress well
	due    float64
	early  int // blocks that go out before enough of them wait
	quick  bool
}

func newPress(c *compressibility, rate float64, workers int) *press {
	p := &press{packed: c, gains: make([]gain, workers), early: muchWaits}
	link, cores := cmp.Or(rate, unknownRate), float64(workers)
	p.quick = c.quick.speed > 0 && outruns(cores*c.quick.speed, link)
	if c.small.speed > 0 {
		// The link takes what the workers make of as much as they can make: seconds of a worker and of the link, for each byte.
		left, work := 1.0, 0.0
		if p.quick {
			left, work = c.quick.mean, 1/c.quick.speed/cores
		}
		more, less := 1/c.small.speed/cores-work, (left-c.small.mean)/link
		p.share = max(0, min(1, (left/link-work)/max(more+less, 1e-18)))
	}
	return p
}

// step is the payload of a step's blocks. The class has so many contents.
func (p *press) step(s bulkStep, contents int) float64 {
	total := 0.0
	for at := 0; at < s.contents; at += blockContents {
		size := float64(min(blockContents, s.contents-at) * PageSize)
		total += size * p.block(s.class, (s.first+at)/blockContents, blocksOf(contents))
	}
	return total
}

// block is the part that remains of a block.
func (p *press) block(class, i, n int) float64 {
	left := 1.0
	if p.quick {
		left = min(1, p.packed.quick.of(class, i, n))
	}
	if p.early > 0 {
		p.early--
		return left
	}
	g := &p.gains[p.next]
	p.next = (p.next + 1) % len(p.gains)
	if p.due += p.share; p.due < 1 {
		return left
	}
	p.due--
	if !g.worth() {
		return left
	}
	part := min(1, p.packed.small.of(class, i, n))
	g.note(1000, int(1000*part))
	return part
}

// vmsOf are the VMs that a step brings something.
func (p *plan) vmsOf(s bulkStep) (vms []int) {
	for _, vm := range p.classes[s.class].vms {
		if slices.Contains(p.channels[s.channel].hosts, p.host[vm]) {
			vms = append(vms, vm)
		}
	}
	return vms
}

// forecastOf is the forecast of a plan of which only the problem is known: nothing is compressed, nothing changes.
func forecastOf(problem *Problem, p *plan, rate int64) forecast {
	f := forecaster{plan: p, packed: incompressible, rate: float64(rate), parallel: defaultParallel, begin: prepareTime.Seconds()}
	for vm, v := range problem.VMs {
		f.vms = append(f.vms, forecastVM{host: p.host[vm], memory: float64(v.Memory)})
	}
	return f.run()
}

// forecast is the forecast of the evacuation's plan.
func (e *evacuation) forecast() (forecast, error) {
	packed, err := e.sample()
	if err != nil {
		return forecast{}, err
	}
	f := forecaster{plan: e.plan, packed: packed, rate: float64(e.posed.SourceBPS / 8), parallel: e.cfg.Parallel, workers: e.bulkWorkers(), limit: e.cfg.Downtime,
		begin: (time.Since(e.started) + prepareTime).Seconds()}
	for vm, v := range e.vms {
		n := e.pagesOf[vm]
		f.vms = append(f.vms, forecastVM{host: v.host, memory: float64((n.Total - n.Zero) * PageSize), hot: float64(e.hot[vm]), gap: e.gap.Seconds()})
	}
	return f.run(), nil
}
