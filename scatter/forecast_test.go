package scatter

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// playOf plays a plan for VMs on hosts that are sent in the given classes.
func playOf(t rapid.TB, host []int, classes []classInfo, change func(*forecaster)) (forecast, *plan) {
	t.Helper()
	p := mustPlan(t, slices.Max(host)+1, host, classes, groupLimits{base: groupBase, max: 4})
	f := forecaster{plan: p, packed: incompressible, rate: 10 << 20, parallel: 1}
	for _, h := range host {
		f.vms = append(f.vms, forecastVM{host: h})
	}
	if change != nil {
		change(&f)
	}
	return f.run(), p
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-3*math.Abs(want) }

// TestForecastOfContents: contents take their bytes and headers at the rate, then each VM its converge, one after the other.
func TestForecastOfContents(t *testing.T) {
	classes := []classInfo{vmsOf(10_000, 0, 1), vmsOf(5000, 0), vmsOf(2000, 1)}
	f, p := playOf(t, []int{0, 1}, classes, nil)
	stream := float64(tcpBytes(deviceBytes))
	contents := onWire(17_000 * PageSize)
	if !near(float64(f.bytes), contents+2*stream) || contents < 1.046*float64(p.bytes) || contents > 1.055*float64(p.bytes) {
		t.Errorf("%d bytes, contents %.0f", f.bytes, contents)
	}
	if !near(float64(f.hosts[0]), onWire(15_000*PageSize)+stream) || !near(float64(f.hosts[1]), onWire(12_000*PageSize)+stream) {
		t.Errorf("hosts %v", f.hosts)
	}
	const rate = 10 << 20
	first := onWire(15_000*PageSize)/(linkUse*rate) + convergeTime.Seconds() + stream/rate
	last := (contents+stream)/(linkUse*rate) + convergeTime.Seconds() + stream/rate
	if !near(f.vms[0].time.Seconds(), first) || !near(f.vms[1].time.Seconds(), last) || !near(f.time.Seconds(), last+endTime.Seconds()) {
		t.Errorf("VMs after %v and %v, all after %v; want %.2f and %.2f s", f.vms[0].time, f.vms[1].time, f.time, first, last)
	}
}

// TestForecastOfAnUnknownRate: bytes are told, times are not.
func TestForecastOfAnUnknownRate(t *testing.T) {
	f, _ := playOf(t, []int{0}, []classInfo{vmsOf(1000, 0)}, func(f *forecaster) { f.rate = 0 })
	if f.time != 0 || f.vms[0].time != 0 || f.bytes == 0 || f.vms[0].downtime != fixedPerStop {
		t.Errorf("%+v", f)
	}
}

// TestForecastOfSlots: VMs that are ready together converge so many at a time.
func TestForecastOfSlots(t *testing.T) {
	for parallel, turns := range map[int]float64{1: 4, 2: 2, 4: 1, 9: 1} {
		f, _ := playOf(t, []int{0, 0, 0, 0}, nil, func(f *forecaster) {
			f.parallel, f.rate = parallel, 1<<40
			for i := range f.vms {
				f.vms[i].memory = filterSpeed // takes a second
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
	classes := []classInfo{vmsOf(20_000, 0)}
	idle, _ := playOf(t, []int{0}, classes, nil)
	half := onWire(20_000*PageSize) / (linkUse * (10 << 20)) / 2 // age of what was sent, in seconds
	for _, c := range []struct{ hot, gap, want float64 }{
		{100, 0, 100}, {100, 10, 100 + 10*half}, {100, 0.1, 100 + workingSet*100},
	} {
		f, _ := playOf(t, []int{0}, classes, func(f *forecaster) { f.vms[0].hot, f.vms[0].gap = c.hot, c.gap })
		if got := float64(f.bytes - idle.bytes); !near(got, float64(tcpBytes(int64(c.want*PageSize)))) {
			t.Errorf("hot %v in %v s: %.0f pages more, want %.0f", c.hot, c.gap, got/PageSize, c.want)
		}
	}
	busy, _ := playOf(t, []int{0}, classes, func(f *forecaster) { f.vms[0].hot, f.vms[0].gap = 10_000, 0.5 })
	if d := busy.vms[0].downtime; d < idle.vms[0].downtime+300*time.Millisecond {
		t.Errorf("down-time %v of a busy VM, %v of an idle one", d, idle.vms[0].downtime)
	}
	busy, _ = playOf(t, []int{0}, classes, func(f *forecaster) { f.vms[0].hot, f.vms[0].gap, f.limit = 10_000, 0.5, 200*time.Millisecond })
	if d := busy.vms[0].downtime; d != 200*time.Millisecond {
		t.Errorf("down-time %v, limit 200 ms", d)
	}
	stays, _ := playOf(t, []int{0, -1}, classes, func(f *forecaster) { f.vms[1] = forecastVM{host: -1, hot: 100, gap: 1} })
	if stays.bytes != idle.bytes || stays.vms[1].time != 0 {
		t.Errorf("%d bytes with a VM that stays, %d without", stays.bytes, idle.bytes)
	}
}

// TestPress: all blocks are tried where that keeps up with the link. On a faster one they are once it is known to be the bottleneck, as
// often as there is time, and less after tries in vain.
func TestPress(t *testing.T) {
	const early = windowBytes / 2 / PageSize // contents
	const more = 1000 * blockContents
	part := func(p float64) *compressibility {
		return &compressibility{parts: [][]float64{{p}}, mean: p, speed: 1 << 40}
	}
	for _, c := range []struct {
		name     string
		packed   *compressibility
		rate     float64
		fast     bool // the link
		contents int
		want     float64 // of the bytes
	}{
		{"nothing is tried", &incompressible, 1e6, false, more, 1},
		{"all are", part(0.5), 1e6, false, early, 0.5},
		{"early blocks are not", part(0.5), 1e6, true, early, 1},
		{"the others are", part(0.5), 1e6, true, more, 1 - 0.5*(1-float64(early)/more)},
		{"in vain", part(1), 1e6, true, more, 1},
		{"the link takes what the workers make", &compressibility{parts: [][]float64{{0.25}}, mean: 0.25, speed: 1e9}, 1e12, true, more, 1},
	} {
		p := newPress(c.packed, c.rate)
		p.all = p.all && !c.fast
		if got := p.step(bulkStep{contents: c.contents}, c.contents) / float64(c.contents*PageSize); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s: %.3f of the bytes, want %.3f", c.name, got, c.want)
		}
	}
	mixed := &compressibility{parts: [][]float64{slices.Concat(slices.Repeat([]float64{1}, 5), slices.Repeat([]float64{0.5}, 5))}, mean: 0.75, speed: 1 << 40}
	p := newPress(mixed, 1e6)
	p.early, p.all = 0, false
	got := p.step(bulkStep{contents: more}, more) / float64(more*PageSize)
	if got <= 0.7501 || got > 0.75+float64(len(p.gains)*mostSkipped)*0.5/1000 {
		t.Errorf("half in vain: %.3f of the bytes", got)
	}
}

// TestSampling: no more samples than agreed, most where most bytes are, spread over each class.
func TestSampling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var classes []classInfo
		for range rapid.IntRange(0, 100).Draw(t, "classes") {
			classes = append(classes, vmsOf(rapid.SampledFrom([]int{0, 1, 62, 63, 10_000, 1_000_000}).Draw(t, "contents"), 0))
		}
		places := sampling(classes)
		if len(places) > sampleBlocks {
			t.Fatalf("%d samples", len(places))
		}
		of := make(map[int][]sampleAt)
		for _, at := range places {
			of[at.class] = append(of[at.class], at)
		}
		for class, list := range of {
			if blocks := blocksOf(classes[class].contents); len(list) > blocks {
				t.Fatalf("%d samples of %d blocks", len(list), blocks)
			}
			for i, at := range list {
				if at.number != i || !near(at.part, (float64(i)+0.5)/float64(len(list))) {
					t.Fatalf("samples %+v", list)
				}
			}
			for other := range classes {
				if classes[other].bytes > classes[class].bytes && len(of[other]) == 0 {
					t.Fatalf("class of %d bytes is sampled, that of %d is not", classes[class].bytes, classes[other].bytes)
				}
			}
		}
	})
}

// TestSample: pages of which half is zeros compress to half, and nothing is said where nothing is to be compressed.
func TestSample(t *testing.T) {
	d := openDrill(t, []int{0, 0, 1}, nil)
	c, err := d.e.sample()
	if err != nil {
		t.Fatal(err)
	}
	if c.mean < 0.48 || c.mean > 0.55 || c.speed <= 0 {
		t.Errorf("%.3f remains, at %.0f bytes/s", c.mean, c.speed)
	}
	for class, parts := range c.parts {
		for i, p := range parts {
			if p < 0.48 || p > 0.6 {
				t.Errorf("class %v: %.3f of sample %d remains", d.e.classes[class].vms, p, i)
			}
		}
	}
	d.e.cfg.NoCompress = true
	if c, err := d.e.sample(); err != nil || c.mean != 1 || c.parts != nil {
		t.Errorf("%+v, %v", c, err)
	}
}
