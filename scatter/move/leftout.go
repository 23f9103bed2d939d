package move

import (
	"context"
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
func (e converging) recordTail(v *migrant, p *stream.Parser, out io.Writer) io.Writer {
	if !e.Cfg.Verify {
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

// pieces finds bytes at a guest physical address, page by page.
func (v *migrant) pieces(ctx context.Context, gpa, n uint64, why string) (out []piece, err error) {
	for n > 0 {
		part := min(n, model.PageSize-gpa%model.PageSize)
		index, offset, ok, err := v.Address(ctx, gpa)
		if err != nil {
			return out, err
		}
		for i, b := range v.Blocks {
			if ok && b.Index == index && offset < b.Length {
				out = append(out, piece{control.Span{Block: i, Offset: offset, Length: uint32(part)}, why})
			}
		}
		gpa, n = gpa+part, n-part
	}
	return out, nil
}
