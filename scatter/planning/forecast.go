package planning

import (
	"cmp"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
)

// Forecast is what an evacuation is expected to take.
type Forecast struct {
	bytes int64         // on the source's link
	time  time.Duration // of all; 0 = the rate is not known
	hosts []int64       // bytes on each host's link
	vms   []vmForecast
}

// Time is that of all; 0 = the rate is not known.
func (f *Forecast) Time() time.Duration { return f.time }

// DefaultParallel is how many VMs converge at one time.
const DefaultParallel = 2

// vmForecast is the same for one VM.
type vmForecast struct {
	time     time.Duration // when it runs on its host; 0 = the rate is not known
	downtime time.Duration
	exposed  time.Duration // for which it lives on both
}

// What an evacuation takes beside its contents. The first three are headers in full packets of 1500 bytes; the others were measured.
const (
	datagramHeaders = 14 + 20 + 8 + wire.Overhead // Ethernet, IP, UDP, the datagram's own
	datagramPayload = 1514 - datagramHeaders
	ownersOnWire    = 0.002 // of a block: who owns its pages

	linkUse      = 0.98                   // of a link: what pacing and pauses between groups leave
	PrepareTime  = 200 * time.Millisecond // until a target's QEMU waits for pages
	convergeTime = 150 * time.Millisecond // passes, commit and run of a small VM
	endTime      = 60 * time.Millisecond  // connections, journal
	passTime     = 50 * time.Millisecond  // between two looks of QEMU at what is dirty, at the end

	// A VM goes on to rewrite pages as fast as between the two looks, but in the end not more than so many times those which it
	// rewrote there: programs return to the same memory.
	workingSet = 5
)

// onWire is what the payload of blocks takes on a link.
func onWire(payload float64) float64 { return payload * (1 + ownersOnWire) * 1514 / datagramPayload }

// Forecaster plays an evacuation through. Times are seconds since it started.
type Forecaster struct {
	VMs      []ForecastVM
	Schedule *Schedule
	Packed   Compressibility
	Rate     float64 // bytes/s, 0 = not known
	Parallel int
	Workers  int           // that make blocks
	Begin    float64       // when bulk begins
	Limit    time.Duration // of a pause

	out    Forecast
	now    float64
	busy   []float64 // until when each converge slot is taken
	sentAt []float64 // by VM: when its contents were sent, weighted by bytes
	weight []float64
}

// ForecastVM is what the forecast needs to know of a VM.
type ForecastVM struct {
	Host   int     // -1 = stays
	Memory float64 // bytes that are not zero
	Hot    float64 // pages that changed between the looks
	Gap    float64 // seconds between these
	Mode   modes.Choice
}

// Run plays the evacuation through.
func (f *Forecaster) Run() Forecast {
	f.out.vms, f.out.hosts = make([]vmForecast, len(f.VMs)), make([]int64, len(f.Schedule.Hosts))
	f.sentAt, f.weight = make([]float64, len(f.VMs)), make([]float64, len(f.VMs))
	f.busy = make([]float64, max(1, f.Parallel))
	f.now = f.Begin
	f.takeOver()
	f.converge(f.Schedule.EndsAt[-1])
	press := newPress(&f.Packed, f.Rate, max(1, f.Workers))
	for i, s := range f.Schedule.Steps {
		sent := onWire(press.step(s, f.Schedule.classes[s.Class].Contents))
		began := f.now
		f.send(sent, f.Schedule.Channels[s.Channel].Hosts)
		for _, vm := range f.Schedule.vmsOf(s) {
			f.sentAt[vm] += sent * (began + f.now) / 2
			f.weight[vm] += sent
		}
		f.converge(f.Schedule.EndsAt[i])
	}
	end := max(f.now, slices.Max(f.busy))
	if f.Rate > 0 {
		f.out.time = modes.Seconds(end + endTime.Seconds())
	}
	return f.out
}

// send has bytes cross the source's link and those of hosts.
func (f *Forecaster) send(bytes float64, hosts []int) {
	f.out.bytes += int64(bytes)
	for _, h := range hosts {
		f.out.hosts[h] += int64(bytes)
	}
	if f.Rate > 0 {
		f.now += bytes / (linkUse * f.Rate)
	}
}

// takeOver has the VMs run on their hosts whose memory follows.
func (f *Forecaster) takeOver() {
	begin := f.now
	for i := range f.VMs {
		v := &f.VMs[i]
		if v.Host < 0 || v.Mode.Mode != model.ModePost {
			continue
		}
		slot := slices.Index(f.busy, slices.Min(f.busy))
		begin := max(begin, f.busy[slot])
		f.send(float64(TCPBytes(modes.DeviceBytes)), []int{v.Host})
		f.busy[slot] = begin + convergeTime.Seconds()
		if f.Rate > 0 {
			f.out.vms[i].time = modes.Seconds(f.busy[slot])
		}
		f.out.vms[i].downtime = v.Mode.Pause
	}
	f.now = max(f.now, slices.Max(f.busy))
}

// converge has VMs converge whose contents are there, each as soon as one of the slots is free. What they send takes its share of the link.
func (f *Forecaster) converge(vms []int) {
	for _, i := range vms {
		v := &f.VMs[i]
		switch {
		case v.Host < 0:
		case v.Mode.Mode == model.ModePost:
			f.send(float64(TCPBytes(int64(v.Hot*model.PageSize))), []int{v.Host}) // what bulk does not bring it
			f.out.vms[i].exposed = max(0, modes.Seconds(f.now)-f.out.vms[i].time)
		default:
			f.passOver(i)
		}
	}
}

// passOver has a VM converge as soon as one of the slots is free.
func (f *Forecaster) passOver(i int) {
	v := &f.VMs[i]
	slot := slices.Index(f.busy, slices.Min(f.busy))
	begin := max(f.now, f.busy[slot])
	pages := (v.Hot + f.dirtied(i, begin)) * model.PageSize
	if v.Mode.Exposed > 0 || v.Mode.Time > convergeTime { // it is more than the pass that all need
		pages = v.Mode.Bytes
	}
	stream := float64(TCPBytes(int64(pages) + modes.DeviceBytes))
	f.send(stream, []int{v.Host})
	took := convergeTime.Seconds() + v.Memory/modes.FilterSpeed
	if f.Rate > 0 {
		took += stream / f.Rate
		f.out.vms[i].exposed = v.Mode.Exposed
		f.out.vms[i].time = modes.Seconds(begin+took) - v.Mode.Exposed
	}
	f.out.vms[i].downtime = f.downtime(v)
	f.busy[slot] = begin + took
}

// dirtied is how many pages that were sent the VM has rewritten until then.
func (f *Forecaster) dirtied(vm int, until float64) float64 {
	v := &f.VMs[vm]
	if v.Gap == 0 || f.weight[vm] == 0 {
		return 0
	}
	age := until - f.sentAt[vm]/f.weight[vm]
	return min(v.Hot/v.Gap*age, workingSet*v.Hot)
}

// downtime is the pause of a VM: what it rewrites in a last pass, and its devices.
func (f *Forecaster) downtime(v *ForecastVM) time.Duration {
	if v.Mode.Exposed > 0 {
		return v.Mode.Pause
	}
	d := modes.FixedPerStop
	if f.Rate > 0 {
		last := 0.0
		if v.Gap > 0 {
			last = v.Hot / v.Gap * passTime.Seconds() * model.PageSize
		}
		d += modes.Seconds((last + modes.DeviceBytes) / f.Rate)
	}
	if f.Limit > 0 {
		d = min(d, f.Limit)
	}
	return d
}

// press plays the workers through that compress blocks: well where others wait for the link meanwhile, which depends on how fast that is, and what was in vain
// less often; else quickly, where that keeps up with the link, or not at all.
type press struct {
	packed *Compressibility
	gains  []Gain
	next   int
	share  float64 // of blocks that there is time to compress well
	due    float64
	early  int // blocks that go out before enough of them wait
	quick  bool
}

func newPress(c *Compressibility, rate float64, workers int) *press {
	p := &press{packed: c, gains: make([]Gain, workers), early: MuchWaits}
	link, cores := cmp.Or(rate, unknownRate), float64(workers)
	p.quick = c.Quick.Speed > 0 && Outruns(cores*c.Quick.Speed, link)
	if c.Small.Speed > 0 {
		// The link takes what the workers make of as much as they can make: seconds of a worker and of the link, for each byte.
		left, work := 1.0, 0.0
		if p.quick {
			left, work = c.Quick.Mean, 1/c.Quick.Speed/cores
		}
		more, less := 1/c.Small.Speed/cores-work, (left-c.Small.Mean)/link
		p.share = max(0, min(1, (left/link-work)/max(more+less, 1e-18)))
	}
	return p
}

// step is the payload of a step's blocks. The class has so many contents.
func (p *press) step(s BulkStep, contents int) float64 {
	total := 0.0
	for at := 0; at < s.Contents; at += BlockContents {
		size := float64(min(BlockContents, s.Contents-at) * model.PageSize)
		total += size * p.block(s.Class, (s.First+at)/BlockContents, BlocksOf(contents))
	}
	return total
}

// block is the part that remains of a block.
func (p *press) block(class, i, n int) float64 {
	left := 1.0
	if p.quick {
		left = min(1, p.packed.Quick.of(class, i, n))
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
	if !g.Worth() {
		return left
	}
	part := min(1, p.packed.Small.of(class, i, n))
	g.Note(1000, int(1000*part))
	return part
}

// vmsOf are the VMs that a step brings something.
func (p *Schedule) vmsOf(s BulkStep) (vms []int) {
	for _, vm := range p.classes[s.Class].VMs {
		if slices.Contains(p.Channels[s.Channel].Hosts, p.host[vm]) {
			vms = append(vms, vm)
		}
	}
	return vms
}

// forecastOf is the forecast of a plan of which only the problem is known: nothing is compressed, nothing changes.
func forecastOf(problem *Problem, p *Schedule, rate int64) Forecast {
	f := Forecaster{Schedule: p, Packed: Incompressible, Rate: float64(rate), Parallel: DefaultParallel, Begin: PrepareTime.Seconds()}
	for vm, v := range problem.VMs {
		f.VMs = append(f.VMs, ForecastVM{Host: p.host[vm], Memory: float64(v.Memory)})
	}
	return f.Run()
}

// MuchWaits is how many blocks must wait for the link to be the bottleneck: the link is busy with them for longer than a worker is kept from its processor.
const MuchWaits = 16

// TCPBytes adds to n bytes of a TLS connection what TCP, IP and Ethernet add in full segments.
func TCPBytes(n int64) int64 { return n + n*tcpHeaders/1448 }

// tcpHeaders is what a full TCP segment has beside its data: TCP with time stamps, IP, Ethernet.
const tcpHeaders = 32 + 20 + 14
