package fill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// Patience is how long a target may be out of reach that a VM runs on which lacks pages, before somebody has to look.
const Patience = 2 * time.Minute

// retryEvery is how often it is tried to reach it.
const retryEvery = 500 * time.Millisecond

// Keep sends a VM what it lacks, over connections that it makes itself, one after the other, until the target has all or has not been reached
// for so long. It is for a VM that runs on its target, whatever became of the connection before.
func (f *Filler) Keep(ctx context.Context, d *wire.Dialer, vm int, patience time.Duration) error {
	for end := time.Now().Add(patience); ; {
		before := f.Sent()
		full, err := f.again(ctx, d, vm)
		if full {
			return nil
		}
		if f.Sent() > before {
			end = time.Now().Add(patience)
		}
		var gone *GoneError
		if errors.As(err, &gone) || time.Now().After(end) {
			return err
		}
		if system.Pause(ctx, retryEvery) != nil {
			return context.Cause(ctx)
		}
	}
}

// FromProcess is a filler for a VM of which only the source QEMU is known, at whatever the way to its target carries.
func FromProcess(ctx context.Context, vm hypervisor.Source, pid int) (*Filler, error) {
	found, err := vm.RAMBlocks(ctx)
	if err != nil {
		return nil, err
	}
	disks, err := vm.Disks(ctx)
	if err != nil {
		return nil, err
	}
	disks = slices.DeleteFunc(disks, func(d hypervisor.Disk) bool { return d.Stays != "" || d.Qcow2 != nil }) // which come before a VM runs
	mem, err := qemu.OpenMemory(pid, found)
	if err != nil {
		return nil, err
	}
	var all []disk.Image
	for _, d := range disks {
		all = append(all, disk.ImageOf(d))
	}
	images, err := disk.OpenImages(all)
	if err != nil {
		mem.Close()
		return nil, err
	}
	f := &Filler{Mem: &disk.Beside{Contents: mem, First: len(found), Images: images}, Rate: func() int64 { return unknownRate }, Pace: unpaced{}}
	for i, b := range found {
		if b.Migratable {
			f.Blocks = append(f.Blocks, system.RAMBlock{Name: b.ID, Length: b.Length, Index: i, Hidden: b.Host == 0})
		}
	}
	for i, d := range disks {
		f.Blocks = append(f.Blocks, system.DiskBlock(d.File, d.Bytes, len(found)+i))
	}
	f.Disks = len(disks)
	return f, nil
}

// unpaced is a way that holds up by itself what is too much.
type unpaced struct{}

func (unpaced) Wait(context.Context, int) error { return nil }
func (unpaced) Charge(int)                      {}

// unknownRate is what a way is taken to carry of which nothing is known, bytes/s.
const unknownRate = 100e6

// GoneError says that a VM does not run on its target any more, or never did.
type GoneError struct{ Is control.VMState }

func (e *GoneError) Error() string {
	return fmt.Sprintf("it is %s on its target, and does not wait for pages", e.Is)
}

// again asks the target what the VM lacks and sends it. full: it has all, and runs.
func (f *Filler) again(ctx context.Context, d *wire.Dialer, vm int) (full bool, err error) {
	state, err := wire.AskState(ctx, *d, vm)
	switch {
	case err != nil:
		return false, err
	case state == control.StateRunning:
		return true, nil
	case state == control.StateLaunching:
		return false, errLaunching
	case state != control.StateFilling:
		return false, &GoneError{state}
	}
	c, _, err := d.Dial(ctx, control.Hello{Purpose: control.PurposeFill, VM: vm})
	if err != nil {
		return false, err
	}
	if err := f.learn(c); err != nil {
		c.Close()
		return false, err
	}
	return false, f.Run(ctx, c) // whether it runs is asked once more
}

// errLaunching: it has all, and its QEMU has not said yet that it runs.
var errLaunching = errors.New("its QEMU does not say whether it runs")

// learn takes what a target says that the VM lacks.
func (f *Filler) learn(c *control.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	var named []control.Lacks
	room := f.mostLacks()
	for {
		m, err := c.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case control.Lacks:
			if room -= len(m.Body); room < 0 {
				return errors.New("names more pages than the VM has")
			}
			named = append(named, control.Lacks{Body: append([]byte(nil), m.Body...)})
		case control.TakeOver:
			if err := f.begin(m.Blocks, named); err != nil {
				return err
			}
			return c.SetReadDeadline(time.Time{})
		default:
			return fmt.Errorf("unexpected %s", m.Type())
		}
	}
}

// mostLacks bounds the bytes with which a target says what the VM lacks: every other page by itself, and the heads of messages.
func (f *Filler) mostLacks() int {
	most := control.MaxFrame
	for _, b := range f.Blocks {
		most += int(b.Pages())/2*lacksBytes + control.MaxFrame/lacksPart
	}
	return most
}

const (
	lacksBytes = 9       // of a run, and its part of the head
	lacksPart  = 1 << 10 // of a frame for what a region's first message takes
)

// begin finds the target's regions in ours, and what is lacked of them.
func (f *Filler) begin(blocks []control.Block, named []control.Lacks) error {
	ours := make(map[string]system.RAMBlock)
	for _, b := range f.Blocks {
		ours[b.Name] = b
	}
	var regions []system.RAMBlock
	ram := len(f.Blocks) - f.Disks
	disks := 0
	for _, b := range blocks {
		o, ok := ours[b.ID]
		if !ok || o.Length != b.Length {
			return fmt.Errorf("ram block %.64q of %d bytes is not the VM's", b.ID, b.Length)
		}
		if slices.Contains(f.Blocks[ram:], o) {
			disks++
		}
		regions = append(regions, o)
	}
	lacks := pageset.New(system.PagesOf(regions)...)
	for _, m := range named {
		region, ok := m.Region()
		if !ok {
			return errors.New("malformed lacks")
		}
		for first, n := range m.Runs() {
			if !lacks.AddRun(region, first, n) {
				return fmt.Errorf("%d pages from %d on of region %d are not the VM's", n, first, region)
			}
		}
	}
	f.Blocks, f.Disks = regions, disks
	f.Begin(lacks, nil)
	return nil
}
