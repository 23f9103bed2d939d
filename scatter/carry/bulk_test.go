package carry

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// drill is a source and its targets on the loopback interface, up to the end of bulk. All RAM is this process's.
type drill struct {
	t        *testing.T
	e        *Carriage
	sites    []*basin
	src, dst [][]byte // by VM
	shape
}

// shape is the RAM of a drill's VMs.
type shape struct {
	pages int                                                      // of each VM
	fill  func(src [][]byte, vm int)                               // gives a VM its pages
	ram   func(t *testing.T, pages int) (b []byte, m *qemu.Memory) // how it is got; nil = ownRAM
}

// drillPages is how many pages each VM has, unless a drill has a shape of its own.
const drillPages = 512

// openDrill places VM i on host[i] and stops before bulk.
func openDrill(t *testing.T, host []int, change func(*source.Config)) *drill {
	t.Helper()
	return openDrillOf(t, shape{pages: drillPages, fill: fillQuarters}, host, change)
}

// openDrillOf is openDrill with VMs of a shape.
func openDrillOf(t *testing.T, s shape, host []int, change func(*source.Config)) *drill {
	t.Helper()
	d := &drill{t: t, shape: s}
	if d.ram == nil {
		d.ram = kit.OwnRAM
	}
	ca := kit.NewAuthority(t)
	cfg := source.Config{TLSDir: ca.Host("source"), RunDir: t.TempDir(), Interface: "lo", Rate: 1 << 30, Unicast: true}
	for h := range slices.Max(host) + 1 {
		s := openBasin(t, ca, fmt.Sprint("h", h))
		d.sites = append(d.sites, s)
		cfg.Targets = append(cfg.Targets, s.target)
	}
	for vm := range host {
		cfg.VMs = append(cfg.VMs, fmt.Sprint("vm", vm))
	}
	if change != nil {
		change(&cfg)
	}
	d.e = &Carriage{}
	if err := d.e.Configure(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	d.e.Started = d.e.Started.Add(-time.Hour) // nothing changes between the two looks
	d.connect(host)
	d.plan(host)
	return d
}

// deaf listens to no word of targets but those about datagrams.
type deaf struct{ *Carriage }

func (deaf) FromTarget(int, control.Message) {}

// close ends what the drill has opened.
func (d *drill) close() {
	if d.e.Sender != nil {
		d.e.Sender.Close()
	}
	for _, l := range d.e.Links {
		l.Close()
	}
	for _, v := range d.e.VMs {
		v.Close()
	}
}

// connect opens the links, and the RAM of each VM on both sides.
func (d *drill) connect(host []int) {
	d.t.Helper()
	for h, target := range d.e.Cfg.Targets {
		l, err := wire.Open(d.t.Context(), wire.Dialer{Target: target, TLSDir: d.e.Cfg.TLSDir, Evacuation: d.e.Name(), Sent: &d.e.ControlBytes})
		if err != nil {
			d.t.Fatal(err)
		}
		d.e.Links = append(d.e.Links, l)
		l.Serve(h, deaf{d.e})
	}
	block := system.RAMBlock{Name: "pc.ram", Length: uint64(d.pages) * model.PageSize}
	for vm, h := range host {
		b, mem := d.ram(d.t, d.pages)
		d.src = append(d.src, b)
		d.e.VMs = append(d.e.VMs, &source.VM{Index: vm, Facts: &qemu.VM{Name: d.e.Cfg.VMs[vm]}, Mem: mem, Blocks: []system.RAMBlock{block}, Host: h})
		b, mem = d.ram(d.t, d.pages)
		ram := pages.NewRAM([]system.RAMBlock{block}, mem, true)
		ram.Open()
		d.sites[h].put(vm, ram)
		d.dst = append(d.dst, b)
		d.fill(d.src, vm)
	}
}

// fillQuarters gives a VM pages: a quarter that all VMs have, a quarter that every second has, a quarter of its own with
// duplicates, and zeros.
func fillQuarters(src [][]byte, vm int) {
	for i := range drillPages {
		switch page := src[vm][i*model.PageSize:][:model.PageSize]; i % 4 {
		case 0:
			kit.Stamp(page, uint64(i))
		case 1:
			kit.Stamp(page, uint64(i+(vm%2+1)<<20))
		case 2:
			kit.Stamp(page, uint64(i%16+(vm+10)<<20))
		}
	}
}

func (d *drill) plan(host []int) {
	d.t.Helper()
	if err := d.e.Scan(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	lim := planning.GroupLimits{Base: enginekit.GroupBase, Max: d.e.Cfg.MaxGroups, None: d.e.Cfg.Unicast}
	var err error
	if d.e.Schedule, err = planning.NewSchedule(model.NamesOf(d.e.Links, (*wire.Link).Name), host, d.e.Classes, planning.Interleave(host), lim); err != nil {
		d.t.Fatal(err)
	}
	if err := d.e.OpenDataPlane(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
}

// run sends everything until the bulk of the expected VMs is confirmed, and returns which failed.
func (d *drill) run(expected ...int) (failed []int) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { d.e.RunBulk(ctx) })
	defer wg.Wait()
	defer cancel()
	for len(expected) > 0 {
		<-d.e.Inbox.Wait()
		for _, ev := range d.e.Inbox.Take() {
			switch ev.Kind {
			case handover.EvBulkDone:
				expected = slices.DeleteFunc(expected, func(vm int) bool { return vm == ev.VM })
			case handover.EvFailed:
				failed = append(failed, ev.VM)
			}
		}
	}
	return failed
}

// agree checks what converge relies on: for each page of the VMs, what is noted as held is what the target has. It
// returns how many pages are held.
func (d *drill) agree(vms ...int) (held int) {
	d.t.Helper()
	zero, unknown := make([]byte, model.PageSize), forgotten(d.e.Layout)
	for _, vm := range vms {
		if d.e.VMs[vm].Blind.Load() {
			d.t.Errorf("vm %d was given up", vm)
		}
		for i := range d.pages {
			has := d.dst[vm][i*model.PageSize:][:model.PageSize]
			switch noted := d.e.Held.Get(d.e.Layout.First(d.e.VMs[vm].Regions) + dedup.Page(i)); {
			case noted == unknown:
			case noted == 0 && !bytes.Equal(has, zero):
				d.t.Fatalf("vm %d, page %d: the target has bytes that nobody noted", vm, i)
			case noted != 0 && dedup.HashPage(d.e.Seed, has) != noted:
				d.t.Fatalf("vm %d, page %d: the target has not what is noted as held", vm, i)
			case noted != 0:
				held++
			}
		}
	}
	return held
}

// forgotten is what is noted for a page of which nothing is known.
func forgotten(l *dedup.Layout) uint64 {
	h := dedup.NewHeld(l)
	h.Forget(0)
	return h.Get(0)
}

func all(n int) (vms []int) {
	for vm := range n {
		vms = append(vms, vm)
	}
	return vms
}

// TestBulkPlacesEveryPage: of VMs that do not change, the targets hold everything, and shared bytes crossed once per host.
func TestBulkPlacesEveryPage(t *testing.T) {
	host := []int{0, 1, 0, 1, 1}
	d := openDrill(t, host, nil)
	d.run(all(len(host))...)
	if held := d.agree(all(len(host))...); held != len(host)*(3*drillPages/4)-len(host) { // page 0 is a zero of all
		t.Errorf("%d pages are held", held)
	}
	for vm := range host {
		if !bytes.Equal(d.src[vm], d.dst[vm]) {
			t.Errorf("vm %d differs", vm)
		}
	}
	placed, pages := d.e.Tracker.Progress()
	if placed != d.e.Schedule.Bytes || d.e.Sender.Stats().Payload > uint64(placed)+uint64(placed)/10 {
		t.Errorf("placed %d bytes of %d, sent %d", placed, d.e.Schedule.Bytes, d.e.Sender.Stats().Payload)
	}
	for vm, n := range pages {
		if n != 3*drillPages/4-1 {
			t.Errorf("progress of vm %d: %d pages", vm, n)
		}
	}
}

// TestReaderGoesOn: classes that are read piece by piece, in turn and for two channels, give what they give at once.
func TestReaderGoesOn(t *testing.T) {
	const piece = 7
	d := openDrill(t, []int{0, 0, 0}, nil)
	var steps []planning.BulkStep
	want := make(map[[2]int][][]dedup.Page)
	for class := range d.e.Classes {
		for channel := range 2 {
			for owners := range d.e.Index.Contents(class) {
				key := [2]int{class, channel}
				want[key] = append(want[key], slices.Clone(owners))
			}
		}
	}
	for first := 0; first < 3*drillPages; first += piece {
		for class, c := range d.e.Classes {
			for channel := range 2 {
				if first < c.Contents {
					steps = append(steps, planning.BulkStep{Class: class, Channel: channel, First: first, Contents: min(piece, c.Contents-first)})
				}
			}
		}
	}
	r := reader{index: d.e.Index}
	got := make(map[[2]int][][]dedup.Page)
	for _, s := range steps {
		for owners := range r.contents(s) {
			key := [2]int{s.Class, s.Channel}
			got[key] = append(got[key], slices.Clone(owners))
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// disturbed runs a drill whose guests write all the time.
func disturbed(t *testing.T, d *drill, host []int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for vm := range host {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(vm), 1))
			for ctx.Err() == nil {
				// Few values, so that pages change back and forth, become equal to others, and zero.
				kit.Stamp(d.src[vm][rnd.IntN(drillPages)*model.PageSize:], uint64(rnd.IntN(5)))
			}
		})
	}
	d.run(all(len(host))...)
	stop()
	wg.Wait()
	d.agree(all(len(host))...)
}

// TestInvariant4EqualMeansCompared: guests that change their pages while these are sent, equal ones and others, never make
// scatter take a page for another: what it notes as held is what the target has, byte for byte.
func TestInvariant4EqualMeansCompared(t *testing.T) {
	for name, c := range map[string]struct {
		host   []int
		change func(*source.Config)
	}{
		"one host":                        {[]int{0, 0, 0}, nil},
		"a copy for each host":            {[]int{0, 1, 0, 1}, nil},
		"without compression":             {[]int{0, 1}, func(c *source.Config) { c.NoCompress = true }},
		"domains":                         {[]int{0, 1, 0}, func(c *source.Config) { c.Domains = map[string]string{"vm0": "red", "vm1": "blue", "vm2": "red"} }},
		"a slow link, where packing pays": {[]int{0, 1}, func(c *source.Config) { c.Rate = 20 << 20 }},
	} {
		t.Run(name, func(t *testing.T) { disturbed(t, openDrill(t, c.host, c.change), c.host) })
	}
}

// TestDomainsShareNothing: pages of VMs of different domains are never one content.
func TestDomainsShareNothing(t *testing.T) {
	host := []int{0, 0, 0}
	d := openDrill(t, host, func(c *source.Config) { c.Domains = map[string]string{"vm0": "red", "vm1": "blue", "vm2": "red"} })
	for _, c := range d.e.Classes {
		if slices.Contains(c.VMs, 1) && len(c.VMs) > 1 {
			t.Errorf("class of VMs %v", c.VMs)
		}
	}
	if d.e.Pages.Shared == 0 {
		t.Error("nothing is shared inside a domain either")
	}
}

// TestInvariant2DeadTargetCostsOnlyItsOwn: a target that dies before or in bulk does not hold up the others, and what they
// hold is right.
func TestInvariant2DeadTargetCostsOnlyItsOwn(t *testing.T) {
	host := []int{0, 1, 2, 0, 1, 2}
	for name, kill := range map[string]func(d *drill){
		"before bulk": func(d *drill) {
			d.sites[1].stop()
			kit.Eventually(d.t, func() bool { return d.e.Sender.Stats().Targets["h1"].Ejected })
		},
		"in bulk": func(d *drill) { time.AfterFunc(5*time.Millisecond, d.sites[1].stop) },
	} {
		t.Run(name, func(t *testing.T) {
			d := openDrill(t, host, func(c *source.Config) { c.Rate = 30 << 20 })
			kill(d)
			d.run(0, 2, 3, 5)
			d.sites[1].stop()
			d.agree(0, 2, 3, 5)
			for _, vm := range []int{0, 2, 3, 5} {
				if !bytes.Equal(d.src[vm], d.dst[vm]) {
					t.Errorf("vm %d differs", vm)
				}
			}
		})
	}
}

// TestBulkOfAVMThatIsGone: the memory of a VM whose QEMU ended cannot be read; it fails alone.
func TestBulkOfAVMThatIsGone(t *testing.T) {
	d := openDrill(t, []int{0, 0, 0}, nil)
	d.e.VMs[1].Mem.Close()
	if failed := d.run(all(3)...); !slices.Equal(slices.Compact(failed), []int{1}) {
		t.Errorf("VMs %v failed", failed)
	}
	d.agree(0, 2)
	for vm, want := range [][]byte{d.src[0], make([]byte, drillPages*model.PageSize), d.src[2]} {
		if !bytes.Equal(want, d.dst[vm]) {
			t.Errorf("vm %d: its target has other bytes", vm)
		}
	}
}

// TestBulkSendsNoZeros: pages that became zero since the scan are not sent.
func TestBulkSendsNoZeros(t *testing.T) {
	d := openDrill(t, []int{0, 1}, nil)
	clear(d.src[0])
	d.run(0, 1)
	if _, pages := d.e.Tracker.Progress(); pages[0] != 0 || pages[1] == 0 {
		t.Errorf("pages sent: %v", pages)
	}
	d.agree(0, 1)
}

// TestBulkObeysItsContext: it ends with its context, wherever it is, and without a word of failure.
func TestBulkObeysItsContext(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond} {
		d := openDrill(t, []int{0, 1}, func(c *source.Config) { c.Rate = 1 << 20 })
		ctx, cancel := context.WithTimeout(t.Context(), after)
		d.e.RunBulk(ctx)
		cancel()
		for vm, v := range d.e.VMs {
			if v.Blind.Load() {
				t.Errorf("vm %d was given up", vm)
			}
		}
	}
}

// TestBulkGivesUp: what cannot be sent makes the VMs that wait for it blind, so that converge sends all of them.
func TestBulkGivesUp(t *testing.T) {
	d := openDrill(t, []int{0, 1}, nil)
	d.e.Sender.Close()
	d.run(0, 1)
	for vm, v := range d.e.VMs {
		if !v.Blind.Load() {
			t.Errorf("vm %d relies on what was never sent", vm)
		}
	}
}

// TestLightClassesShareBlocks: hundreds of classes of a content or two, as many VMs have, make few blocks.
func TestLightClassesShareBlocks(t *testing.T) {
	host := []int{0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1}
	mixed := func(src [][]byte, vm int) {
		for i := range drillPages {
			if owners := rand.New(rand.NewPCG(uint64(i), 3)).Uint64(); owners>>vm&1 != 0 {
				kit.Stamp(src[vm][i*model.PageSize:][:model.PageSize], uint64(i)+1)
			}
		}
	}
	d := openDrillOf(t, shape{pages: drillPages, fill: mixed}, host, nil)
	d.run(all(len(host))...)
	d.agree(all(len(host))...)
	for vm := range host {
		if !bytes.Equal(d.src[vm], d.dst[vm]) {
			t.Errorf("vm %d differs", vm)
		}
	}
	classes, contents := len(d.e.Classes), 0
	for _, c := range d.e.Schedule.Channels {
		contents += c.Contents
	}
	if blocks := d.e.Sender.Stats().Blocks; classes < drillPages/2 || blocks > uint64(planning.BlocksOf(contents))+20 {
		t.Errorf("%d contents of %d classes in %d blocks", contents, classes, blocks)
	}
}

// TestBulkStandsBehindGuests: what makes blocks on the source and what places them on the targets leaves processors to guests.
func TestBulkStandsBehindGuests(t *testing.T) {
	const targets = 2
	d := openDrill(t, []int{0, 1}, func(c *source.Config) { c.Rate = 1 << 20 })
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.e.RunBulk(t.Context())
	}()
	most := 0
	for running := true; running; {
		most = max(most, threadsOfNice(t, system.Courtesy))
		select {
		case <-done:
			running = false
		case <-time.After(time.Millisecond):
		}
	}
	if want := d.e.BulkWorkers() + targets; most < want { // threads of the scan may not have ended yet
		t.Errorf("%d threads stood behind guests, want %d at least", most, want)
	}
}

// threadsOfNice counts the threads of this process with a nice value.
func threadsOfNice(t *testing.T, nice int) (n int) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range threads {
		if id, err := strconv.Atoi(e.Name()); err == nil && kit.NiceOf(t, id) == nice {
			n++
		}
	}
	return n
}
