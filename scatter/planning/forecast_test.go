package planning

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
)

// playOf plays a plan for VMs on hosts that are sent in the given classes.
func playOf(t rapid.TB, host []int, classes []ClassInfo, change func(*Forecaster)) (Forecast, *Schedule) {
	t.Helper()
	p := mustPlan(t, slices.Max(host)+1, host, classes, GroupLimits{Base: groupBase, Max: 4})
	f := Forecaster{Schedule: p, Packed: Incompressible, Rate: 10 << 20, Parallel: 1}
	for _, h := range host {
		f.VMs = append(f.VMs, ForecastVM{Host: h})
	}
	if change != nil {
		change(&f)
	}
	return f.Run(), p
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-3*math.Abs(want) }

// TestForecastOfContents: contents take their bytes and headers at the rate, then each VM its converge, one after the other.
func TestForecastOfContents(t *testing.T) {
	classes := []ClassInfo{vmsOf(10_000, 0, 1, 2), vmsOf(5000, 0), vmsOf(2000, 1), vmsOf(3000, 2)}
	f, p := playOf(t, []int{0, 1, 2}, classes, nil)
	stream := float64(TCPBytes(modes.DeviceBytes))
	contents := onWire(20_000 * model.PageSize)
	if !near(float64(f.bytes), contents+3*stream) || contents < 1.046*float64(p.Bytes) || contents > 1.055*float64(p.Bytes) {
		t.Errorf("%d bytes, contents %.0f", f.bytes, contents)
	}
	if !near(float64(f.hosts[0]), onWire(15_000*model.PageSize)+stream) || !near(float64(f.hosts[1]), onWire(12_000*model.PageSize)+stream) {
		t.Errorf("hosts %v", f.hosts)
	}
	const rate = 10 << 20
	first := onWire(17_000*model.PageSize)/(linkUse*rate) + convergeTime.Seconds() + stream/rate // the first two have all at the same time
	last := (contents+2*stream)/(linkUse*rate) + convergeTime.Seconds() + stream/rate
	if !near(f.vms[0].time.Seconds(), first) || !near(f.vms[2].time.Seconds(), last) || !near(f.time.Seconds(), last+endTime.Seconds()) {
		t.Errorf("VMs after %v and %v, all after %v; want %.2f and %.2f s", f.vms[0].time, f.vms[2].time, f.time, first, last)
	}
}

// TestForecastOfAnUnknownRate: bytes are told, times are not.
func TestForecastOfAnUnknownRate(t *testing.T) {
	f, _ := playOf(t, []int{0}, []ClassInfo{vmsOf(1000, 0)}, func(f *Forecaster) { f.Rate = 0 })
	if f.time != 0 || f.vms[0].time != 0 || f.bytes == 0 || f.vms[0].downtime != modes.FixedPerStop {
		t.Errorf("%+v", f)
	}
}

// TestForecastOfSlots: VMs that are ready together converge so many at a time.
func TestForecastOfSlots(t *testing.T) {
	for parallel, turns := range map[int]float64{1: 4, 2: 2, 4: 1, 9: 1} {
		f, _ := playOf(t, []int{0, 0, 0, 0}, nil, func(f *Forecaster) {
			f.Parallel, f.Rate = parallel, 1<<40
			for i := range f.VMs {
				f.VMs[i].Memory = modes.FilterSpeed // takes a second
			}
		})
		if want := turns*(1+convergeTime.Seconds()) + endTime.Seconds(); !near(f.time.Seconds(), want) {
			t.Errorf("%d at a time: %v, want %.2f s", parallel, f.time, want)
		}
	}
}

// TestForecastOfDirtyPages: pages that are hot are sent by converge, and those that are rewritten after they were sent once more, up to
// a working set; VMs that stay cost nothing.
func TestForecastOfDirtyPages(t *testing.T) {
	classes := []ClassInfo{vmsOf(20_000, 0)}
	idle, _ := playOf(t, []int{0}, classes, nil)
	half := onWire(20_000*model.PageSize) / (linkUse * (10 << 20)) / 2 // age of what was sent, in seconds
	for _, c := range []struct{ hot, gap, want float64 }{
		{100, 0, 100}, {100, 10, 100 + 10*half}, {100, 0.1, 100 + workingSet*100},
	} {
		f, _ := playOf(t, []int{0}, classes, func(f *Forecaster) { f.VMs[0].Hot, f.VMs[0].Gap = c.hot, c.gap })
		if got := float64(f.bytes - idle.bytes); !near(got, float64(TCPBytes(int64(c.want*model.PageSize)))) {
			t.Errorf("hot %v in %v s: %.0f pages more, want %.0f", c.hot, c.gap, got/model.PageSize, c.want)
		}
	}
	busy, _ := playOf(t, []int{0}, classes, func(f *Forecaster) { f.VMs[0].Hot, f.VMs[0].Gap = 10_000, 0.5 })
	if d := busy.vms[0].downtime; d < idle.vms[0].downtime+300*time.Millisecond {
		t.Errorf("down-time %v of a busy VM, %v of an idle one", d, idle.vms[0].downtime)
	}
	busy, _ = playOf(t, []int{0}, classes, func(f *Forecaster) { f.VMs[0].Hot, f.VMs[0].Gap, f.Limit = 10_000, 0.5, 200*time.Millisecond })
	if d := busy.vms[0].downtime; d != 200*time.Millisecond {
		t.Errorf("down-time %v, limit 200 ms", d)
	}
	stays, _ := playOf(t, []int{0, -1}, classes, func(f *Forecaster) { f.VMs[1] = ForecastVM{Host: -1, Hot: 100, Gap: 1} })
	if stays.bytes != idle.bytes || stays.vms[1].time != 0 {
		t.Errorf("%d bytes with a VM that stays, %d without", stays.bytes, idle.bytes)
	}
}

// TestPress: blocks are compressed well once enough wait for the link, as often as there is time, and less after tries in vain; else quickly where that
// keeps up with the link.
func TestPress(t *testing.T) {
	const more = 1000
	workers := 2.0
	kind := func(left, speed float64) Squeeze {
		return Squeeze{Parts: [][]float64{{left}}, Mean: left, Speed: speed}
	}
	for _, c := range []struct {
		name   string
		packed Compressibility
		rate   float64
		blocks int
		want   float64 // of the bytes
	}{
		{"nothing is compressed", Incompressible, 1e6, more, 1},
		{"early blocks are quick", Compressibility{kind(0.5, 1e9), kind(0.7, 3e9)}, 1e6, MuchWaits, 0.7},
		{"the others are small", Compressibility{kind(0.5, 1e9), kind(0.7, 3e9)}, 1e6, more, 0.5 + 0.2*MuchWaits/more},
		{"in vain", Compressibility{kind(1, 1e9), kind(1, 3e9)}, 1e6, more, 1},
		{"small in vain, and quick is not", Compressibility{kind(1, 1e9), kind(0.8, 3e9)}, 1e6, more, 0.8 + 0.2/15},
		{"the link is too fast for either", Compressibility{kind(0.25, 1e9), kind(0.5, 3e9)}, 1e12, more, 1},
		// A worker makes half of its blocks small: per byte 1/2 x 1/1e9 + 1/2 x 1/4e9 s, and the link takes as long for 0.5 bytes of it.
		{"both", Compressibility{kind(0.4, 1e9), kind(0.6, 4e9)}, workers * 0.5 / 0.625e-9, 10 * more, 0.5},
	} {
		p := newPress(&c.packed, c.rate, 2)
		if got := p.step(BulkStep{Contents: c.blocks * BlockContents}, c.blocks*BlockContents) / float64(c.blocks*BlockContents*model.PageSize); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s: %.3f of the bytes, want %.3f", c.name, got, c.want)
		}
	}
	mixed := Compressibility{Small: Squeeze{Parts: [][]float64{slices.Concat(slices.Repeat([]float64{1}, 5), slices.Repeat([]float64{0.5}, 5))}, Mean: 0.75, Speed: 1 << 40},
		Quick: Squeeze{Mean: 1}}
	p := newPress(&mixed, 1e6, 2)
	p.early = 0
	got := p.step(BulkStep{Contents: more * BlockContents}, more*BlockContents) / float64(more*BlockContents*model.PageSize)
	if got <= 0.7501 || got > 0.75+float64(len(p.gains)*mostSkipped)*0.5/more {
		t.Errorf("half in vain: %.3f of the bytes", got)
	}
}

func TestTCPBytes(t *testing.T) {
	for n, want := range map[int64]int64{0: 0, 1448: 1448 + 66, 1448000: 1514000} {
		if got := TCPBytes(n); got != want {
			t.Errorf("%d bytes are %d on the wire, want %d", n, got, want)
		}
	}
}

// TestForecastOfModes: a VM whose memory follows runs on its host before bulk, and depends on both until that has brought it all; one that takes over
// without what it writes gets that afterwards, one that is throttled before.
func TestForecastOfModes(t *testing.T) {
	classes := []ClassInfo{vmsOf(20_000, 0)}
	pre, _ := playOf(t, []int{0}, classes, func(f *Forecaster) { f.VMs[0].Hot, f.VMs[0].Gap = 1000, 0.5 })
	in := func(mode modes.Estimate) Forecast {
		f, _ := playOf(t, []int{0}, classes, func(f *Forecaster) {
			f.VMs[0].Hot, f.VMs[0].Gap, f.VMs[0].Mode = 1000, 0.5, modes.Choice{Estimate: mode}
		})
		return f
	}
	post := in(modes.Estimate{Mode: model.ModePost, Pause: time.Millisecond})
	if v := post.vms[0]; v.time > time.Second || v.downtime != time.Millisecond || v.exposed < post.time-time.Second || post.bytes >= pre.bytes {
		t.Errorf("post: %+v of %+v, pre-copy %+v", v, post, pre)
	}
	const lacks = 64 << 20
	lacking := modes.Estimate{Mode: model.ModeHybrid, Pause: time.Millisecond, Bytes: lacks, Time: time.Second, Exposed: 6 * time.Second}
	hybrid := in(lacking)
	if v := hybrid.vms[0]; v.exposed != lacking.Exposed || v.downtime != lacking.Pause || v.time+v.exposed > hybrid.time ||
		!near(float64(hybrid.bytes), onWire(20_000*model.PageSize)+float64(TCPBytes(lacks+modes.DeviceBytes))) {
		t.Errorf("hybrid: %+v of %+v", v, hybrid)
	}
	throttled := in(modes.Estimate{Mode: model.ModeThrottle, Bytes: lacks, Time: time.Second})
	if v := throttled.vms[0]; v.exposed != 0 || v.time+endTime != throttled.time || throttled.bytes != hybrid.bytes {
		t.Errorf("throttled: %+v of %+v", v, throttled)
	}
}
