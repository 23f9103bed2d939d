package scatter

import (
	"context"
	"fmt"
	"io"

	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
)

// loadWrites is what KVM writes into a guest's RAM by itself when the registers of its processors are loaded: clocks that it shares with
// the guest, at addresses that the guest has given. They are another time on the target before the VM has run there, with any
// migration. SeaBIOS has such a clock too, so there is one in nearly every guest.
var loadWrites = []struct {
	register string // in the state of each cpu
	flag     uint64 // of it: in use
	bytes    uint64
	why      string
}{
	{"env.system_time_msr", 1, 32, "kvmclock, which KVM sets when a processor is loaded"},
	{"env.wall_clock_msr", 0, 12, "kvmclock's wall clock, which KVM sets when a processor is loaded"},
}

// mostDeviceState bounds the device state that is kept to find those addresses, in bytes.
const mostDeviceState = 32 << 20

// recordTail is where a VM's device state goes: to out, and into a record if the VM is going to be verified.
func (e converging) recordTail(v *sourceVM, p *stream.Parser, out io.Writer) io.Writer {
	if !e.cfg.Verify {
		return out
	}
	r := p.NewRecord(mostDeviceState)
	v.mu.Lock()
	v.devices = r
	v.mu.Unlock()
	return io.MultiWriter(r, out)
}

// piece is bytes of RAM that a load changes.
type piece struct {
	control.Span
	why string
}

func spansOf(pieces []piece) (spans []control.Span) {
	for _, p := range pieces {
		spans = append(spans, p.Span)
	}
	return spans
}

// writtenByLoad finds what a load of this VM changes. What it cannot find out is compared.
func (e checking) writtenByLoad(ctx context.Context, v *sourceVM) []piece {
	v.mu.Lock()
	r := v.devices
	v.devices = nil // it is needed once
	v.mu.Unlock()
	if r == nil {
		return nil
	}
	devices, err := r.Devices()
	if err != nil {
		e.log.Warn("what a load changes is not known", "vm", v.name(), "err", err)
		return nil
	}
	var pieces []piece
	seen := make(map[uint64]bool)
	for _, d := range devices {
		for _, w := range loadWrites {
			at, ok := d.Number(w.register)
			if d.Name != "cpu" || !ok || at == 0 || at&w.flag != w.flag || seen[at] {
				continue
			}
			seen[at] = true
			found, err := v.pieces(ctx, at&^w.flag, w.bytes, w.why)
			if err != nil {
				e.log.Warn("what a load changes is not known", "vm", v.name(), "err", err)
			}
			pieces = append(pieces, found...)
		}
	}
	return pieces[:min(len(pieces), control.MaxSkips)]
}

// pieces finds bytes at a guest physical address, page by page.
func (v *sourceVM) pieces(ctx context.Context, gpa, n uint64, why string) (out []piece, err error) {
	for n > 0 {
		part := min(n, model.PageSize-gpa%model.PageSize)
		index, offset, ok, err := v.client.Address(ctx, v.vm.Blocks, gpa)
		if err != nil {
			return out, fmt.Errorf("vm %s: address %#x: %w", v.name(), gpa, err)
		}
		for i, b := range v.blocks {
			if ok && b.Index == index && offset < b.Length {
				out = append(out, piece{control.Span{Block: i, Offset: offset, Length: uint32(part)}, why})
			}
		}
		gpa, n = gpa+part, n-part
	}
	return out, nil
}

// reportLeftOut says what was not compared.
func (e checking) reportLeftOut(v *sourceVM, pieces []piece) (out []model.LeftOut) {
	for _, p := range pieces {
		out = append(out, model.LeftOut{Block: v.blocks[p.Block].Name, Offset: p.Offset, Bytes: p.Length, Why: p.why})
	}
	return out
}
