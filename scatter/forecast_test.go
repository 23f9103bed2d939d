package scatter

import (
	"math"
	"reflect"
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
	classes := []classInfo{vmsOf(10_000, 0, 1, 2), vmsOf(5000, 0), vmsOf(2000, 1), vmsOf(3000, 2)}
	f, p := playOf(t, []int{0, 1, 2}, classes, nil)
	stream := float64(tcpBytes(deviceBytes))
	contents := onWire(20_000 * PageSize)
	if !near(float64(f.bytes), contents+3*stream) || contents < 1.046*float64(p.bytes) || contents > 1.055*float64(p.bytes) {
		t.Errorf("%d bytes, contents %.0f", f.bytes, contents)
	}
	if !near(float64(f.hosts[0]), onWire(15_000*PageSize)+stream) || !near(float64(f.hosts[1]), onWire(12_000*PageSize)+stream) {
		t.Errorf("hosts %v", f.hosts)
	}
	const rate = 10 << 20
	first := onWire(17_000*PageSize)/(linkUse*rate) + convergeTime.Seconds() + stream/rate // the first two have all at the same time
	last := (contents+2*stream)/(linkUse*rate) + convergeTime.Seconds() + stream/rate
	if !near(f.vms[0].time.Seconds(), first) || !near(f.vms[2].time.Seconds(), last) || !near(f.time.Seconds(), last+endTime.Seconds()) {
		t.Errorf("VMs after %v and %v, all after %v; want %.2f and %.2f s", f.vms[0].time, f.vms[2].time, f.time, first, last)
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

// TestPress: blocks are compressed well once enough wait for the link, as often as there is time, and less after tries in vain; else quickly where that
// keeps up with the link.
func TestPress(t *testing.T) {
	const more = 1000
	workers := 2.0
	kind := func(left, speed float64) squeeze {
		return squeeze{parts: [][]float64{{left}}, mean: left, speed: speed}
	}
	for _, c := range []struct {
		name   string
		packed compressibility
		rate   float64
		blocks int
		want   float64 // of the bytes
	}{
		{"nothing is compressed", incompressible, 1e6, more, 1},
		{"early blocks are quick", compressibility{kind(0.5, 1e9), kind(0.7, 3e9)}, 1e6, muchWaits, 0.7},
		{"the others are small", compressibility{kind(0.5, 1e9), kind(0.7, 3e9)}, 1e6, more, 0.5 + 0.2*muchWaits/more},
		{"in vain", compressibility{kind(1, 1e9), kind(1, 3e9)}, 1e6, more, 1},
		{"small in vain, and quick is not", compressibility{kind(1, 1e9), kind(0.8, 3e9)}, 1e6, more, 0.8 + 0.2/15},
		{"the link is too fast for either", compressibility{kind(0.25, 1e9), kind(0.5, 3e9)}, 1e12, more, 1},
		// A worker makes half of its blocks small: per byte 1/2 x 1/1e9 + 1/2 x 1/4e9 s, and the link takes as long for 0.5 bytes of it.
		{"both", compressibility{kind(0.4, 1e9), kind(0.6, 4e9)}, workers * 0.5 / 0.625e-9, 10 * more, 0.5},
	} {
		p := newPress(&c.packed, c.rate, 2)
		if got := p.step(bulkStep{contents: c.blocks * blockContents}, c.blocks*blockContents) / float64(c.blocks*blockContents*PageSize); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s: %.3f of the bytes, want %.3f", c.name, got, c.want)
		}
	}
	mixed := compressibility{small: squeeze{parts: [][]float64{slices.Concat(slices.Repeat([]float64{1}, 5), slices.Repeat([]float64{0.5}, 5))}, mean: 0.75, speed: 1 << 40},
		quick: squeeze{mean: 1}}
	p := newPress(&mixed, 1e6, 2)
	p.early = 0
	got := p.step(bulkStep{contents: more * blockContents}, more*blockContents) / float64(more*blockContents*PageSize)
	if got <= 0.7501 || got > 0.75+float64(len(p.gains)*mostSkipped)*0.5/more {
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
	for name, c := range map[string]squeeze{"small": c.small, "quick": c.quick} {
		if c.mean < 0.48 || c.mean > 0.55 || c.speed <= 0 {
			t.Errorf("%s: %.3f remains, at %.0f bytes/s", name, c.mean, c.speed)
		}
		for class, parts := range c.parts {
			for i, p := range parts {
				if p < 0.48 || p > 0.6 {
					t.Errorf("%s: class %v: %.3f of sample %d remains", name, d.e.classes[class].vms, p, i)
				}
			}
		}
	}
	d.e.cfg.NoCompress = true
	if c, err := d.e.sample(); err != nil || !reflect.DeepEqual(c, incompressible) {
		t.Errorf("%+v, %v", c, err)
	}
}
